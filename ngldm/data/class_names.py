"""The names of the classes of a data set: those of its folders, or those that its authors gave them."""

from pathlib import Path

from ngldm.io.files import entry, read_json

LAYOUT = "layout.json"  # beside the arrays of a data set that comes from folders; it names them
KNOWN: dict[str, tuple[str, ...]] = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "fashion_mnist": (
        *("t-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
}


def class_names(folder: Path, name: str, count: int) -> tuple[str, ...]:
    """`count` different names; the classes' numbers if nothing names as many.

    Args:
        folder: of the data set.
        name: of the data set.
    """
    names = KNOWN.get(name, ())
    if (folder / LAYOUT).is_file():
        names = tuple(str(kind["name"]) for kind in entry(read_json(folder / LAYOUT), "classes", list))
    return names if len(set(names)) == len(names) == count else tuple(str(number) for number in range(count))
