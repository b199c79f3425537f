"""Stage `download`: get the data set into its one form, data/dataset/."""

from ngldm.plumbing import paths
from ngldm.plumbing.command import command
from ngldm.plumbing.params import check_noises, load_params


def download() -> None:
    """Download (or unpack, or make) the data set and store it as uint8 arrays with a train and a test split."""
    params = load_params()
    check_noises(params)  # the first stage to run: nothing has been computed yet
    from ngldm.datasets import make_dataset, save_dataset

    dataset = make_dataset(params.dataset.model_dump())
    save_dataset(dataset, paths.DATASET)
    print(f"{dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test images in {paths.DATASET}")


main = command(download)
if __name__ == "__main__":
    main()
