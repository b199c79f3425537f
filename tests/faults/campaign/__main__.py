"""`python -m tests.faults.campaign`: all cases, or so many as fit into some seconds; then a table.

What was tried is kept in a file, so that the next call goes on.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from tempfile import gettempdir

from tests.faults.campaign import together
from tests.faults.campaign.cases import Bench, names
from tests.faults.campaign.moments import MOMENTS
from tests.faults.campaign.pipeline import build


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(gettempdir(), "ngldm-campaign"), help="for all files")
    parser.add_argument("--random", type=int, default=40, help="kills at random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no case after so many")
    parser.add_argument("--only", default="", help="cases whose name, or row of the table, has this text")
    parser.add_argument("--again", action="store_true", help="repeat what has failed")
    return parser.parse_args()


def main() -> int:
    """Exit code: 0 if all that was tried has recovered, else 1."""
    asked, begun = arguments(), time.monotonic()
    file, complete = asked.folder / "tried.json", asked.folder / "complete"
    tried: dict[str, list[str]] = json.loads(file.read_text()) if file.exists() else {}
    if not file.exists():
        build(complete)
        file.write_text("{}")
    bench, moments = Bench(complete, asked.folder / "cases"), {f"{m.stage}: {m.what}": m for m in MOMENTS}
    kinds = {name: kind for name, (kind, _) in names(asked.random).items()} | dict.fromkeys(
        together.CASES, together.KIND
    )
    expected: dict[str, str] = {}
    for number, name in enumerate(kinds):
        if asked.only not in f"{name} {kinds[name]}" or (name in tried and not (asked.again and tried[name])):
            continue
        if time.monotonic() - begun > asked.seconds:
            break
        start = time.monotonic()
        if name in moments:
            tried[name] = bench.chosen(moments[name])
        elif name in together.CASES:
            expected = expected or together.undisturbed(complete, bench.new())
            tried[name] = together.case(name, complete, bench.new(), expected, asked.seed)
        else:
            tried[name] = bench.random(number, asked.seed)
        file.write_text(json.dumps(tried, indent=1))
        print(f"{time.monotonic() - start:5.1f} s  {name}: {'; '.join(tried[name]) or 'recovered'}", flush=True)
    counts = Counter(kinds[name] for name in tried if name in kinds)
    good = Counter(kinds[name] for name, wrong in tried.items() if name in kinds and not wrong)
    print("| killed | tried | recovered |\n| --- | --- | --- |")
    for kind in dict.fromkeys(kinds.values()):
        print(f"| {kind} | {counts[kind]} of {list(kinds.values()).count(kind)} | {good[kind]} |")
    return int(any(tried.values()))


if __name__ == "__main__":
    raise SystemExit(main())
