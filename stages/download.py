"""Stage `download`: make data/dataset/, the form of the data set that all other stages read."""

import time
from collections.abc import Callable
from contextlib import ExitStack

from ngldm.data.sources.layout import describe_layout
from ngldm.data.sources.registry import make_dataset
from ngldm.data.sources.shards.manifest import describe_shards
from ngldm.io.files import write_json
from ngldm.io.items import noun
from ngldm.pipeline import workspace
from ngldm.pipeline.config.networks import check_networks, check_pretrained
from ngldm.pipeline.config.noises import check_noises
from ngldm.pipeline.config.params import load_params
from ngldm.pipeline.terminal import command, progress, summary


def download() -> None:
    """Download, unpack or make the data set. Store it as arrays, uint8 images or float32 points, with two splits.

    With dataset.keep_pixels false only test images and a sample of the training images are stored, and shards.json.
    """
    params, start_time = load_params(), time.perf_counter()
    check_networks(params)
    check_pretrained(params)
    check_noises(params)  # checked in the first stage, before anything is computed
    raw = workspace.main_root() / workspace.RAW
    with ExitStack() as stack:

        def start(total: int) -> Callable[..., None]:
            return stack.enter_context(progress("data set", total, "files"))

        dataset = make_dataset(params.dataset.model_dump(), workspace.DATASET, raw, start)
    for line in [*describe_layout(workspace.DATASET), *describe_shards(workspace.DATASET)]:
        print(line)
    write_json(workspace.metrics("download"), {"seconds": time.perf_counter() - start_time})
    items = noun(dataset.train)
    kept = {} if dataset.total is None else {"of them kept as pixels": len(dataset.train)}
    counts = {f"training {items}": dataset.num_train, **kept, f"test {items}": len(dataset.test)}
    summary(f"download {dataset.name}", {**counts, "shape": dataset.item_shape, "folder": workspace.DATASET})


main = command(download)
if __name__ == "__main__":
    main()
