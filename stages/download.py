"""Stage `download`: get the data set into its one form, data/dataset/."""

import csv
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

from ngldm.plumbing import paths
from ngldm.plumbing.command import command, progress, summary
from ngldm.plumbing.params import check_noises, load_params


def download() -> None:
    """Download (or unpack, or make) the data set and store it as uint8 arrays with a train and a test split."""
    params, start_time = load_params(), time.perf_counter()
    check_noises(params)  # the first stage to run: nothing has been computed yet
    from ngldm.files import write_json
    from ngldm.plumbing.tracking import main_root
    from ngldm.sources import make_dataset

    with ExitStack() as stack:

        def start(total: int) -> Callable[..., None]:
            return stack.enter_context(progress("data set", total, "files"))

        dataset = make_dataset(params.dataset.model_dump(), paths.DATASET, main_root() / paths.RAW, start)
    skipped = paths.DATASET / "skipped.csv"
    if skipped.is_file():
        with skipped.open(newline="") as file:
            reasons = Counter(row["reason"] for row in csv.DictReader(file))
        for reason, count in sorted(reasons.items()):
            print(f"skipped, {reason}: {count} files, named in {skipped}")
    write_json(paths.DOWNLOAD_METRICS, {"seconds": time.perf_counter() - start_time})
    images = {"training images": len(dataset.train), "test images": len(dataset.test)}
    summary(f"download {dataset.name}", {**images, "shape": dataset.image_shape, "folder": paths.DATASET})


main = command(download)
if __name__ == "__main__":
    main()
