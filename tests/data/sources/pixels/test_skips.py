"""What is left out: the table that names it, and the message that stops the work."""

import csv

from ngldm.data.sources.pixels.skips import SHOWN, Skip, printable, refusal, write_skips

SKIPS = [Skip(f"{number}.png", "damaged", f"why, {number}") for number in range(SHOWN + 2)]


def test_the_table_names_each_file_with_its_reason(tmp_path) -> None:
    write_skips(tmp_path / "skipped.csv", [*SKIPS, Skip("caf\udce9.png", "link", "leads out")])
    with (tmp_path / "skipped.csv").open(newline="", encoding="utf-8") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows[:-1] == [(skip.name, skip.reason, skip.detail) for skip in SKIPS]
    assert rows[-1] == (r"caf\xe9.png", "link", "leads out")


def test_names_are_printable_whatever_their_bytes() -> None:
    assert printable("é") == "é"
    assert printable(b"\xff.png".decode("utf-8", "surrogateescape")) == r"\xff.png"


def test_the_message_names_the_first_files_and_counts_the_others() -> None:
    text = str(refusal(SKIPS))
    assert text.startswith("dataset.source: 0.png: damaged (why, 0); 1.png: damaged")
    assert "and 2 more" in text
    assert text.endswith("dataset.on_error: skip")
    assert "more" not in str(refusal(SKIPS[:SHOWN]))
