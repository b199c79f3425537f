"""Which options go with which data set."""

import pytest

from ngldm.data.sources.names import SOURCE_OPTIONS, check_flips, check_source, image_shape
from ngldm.data.sources.registry import SOURCES, make_dataset
from ngldm.io.errors import InputError


def test_every_data_set_has_a_source():
    assert set(SOURCE_OPTIONS) == set(SOURCES)


def test_options_that_are_not_given_are_not_checked():
    check_source("cifar10", {"mirror": None, "test_size": None})
    check_source("digits", {"test_size": 297, "size": None})


def test_an_unknown_data_set_is_refused_with_the_choices():
    with pytest.raises(InputError, match=r"unknown dataset\.name 'digit'; choose one of: cifar10, .*digits"):
        check_source("digit", {})


def test_an_option_of_another_data_set_is_named():
    with pytest.raises(
        InputError, match=r"^mirror: not an option of data set 'digits'; its options are \['long_tail', 'test_size'\]$"
    ):
        check_source("digits", {"test_size": 297, "mirror": "x/"})


@pytest.mark.parametrize(
    ("name", "reason"), [("digits", "mirrored digit"), ("fashion_mnist", "shoes"), ("points", "left")]
)
def test_mirror_images_that_do_not_belong_to_a_data_set_are_refused_with_the_reason(name, reason):
    with pytest.raises(InputError, match=rf"latents\.flips: true does not fit the data set '{name}': .*{reason}"):
        check_flips(name)


def test_mirror_images_of_photographs_and_of_ones_own_images_are_allowed():
    for name in ("cifar10", "photographs", "image_folder", "huggingface", "webdataset"):
        check_flips(name)


def test_a_missing_option_is_named():
    with pytest.raises(InputError, match=r"^test_size: missing; data set 'digits' needs it$"):
        check_source("digits", {"test_size": None})


@pytest.mark.parametrize(
    ("name", "options"),
    [("digits", {"test_size": 297}), ("photographs", {"train_size": 4, "test_size": 4, "size": 12})],
)
def test_the_shape_is_that_of_the_images_that_are_made(name, options, tmp_path):
    made = make_dataset({"name": name, "seed": 0, **options}, tmp_path, tmp_path, lambda total: lambda count: None)
    _, height, width, channels = made.train.shape
    assert image_shape(name, options.get("size"), None) == (channels, height, width)


@pytest.mark.parametrize("name", ["image_folder", "huggingface", "webdataset"])
def test_the_shape_of_images_that_are_read_follows_from_the_options(name):
    assert image_shape(name, 32, 3) == (3, 32, 32)


STREAMED = {
    **{"image": "png", "size": 8, "channels": 1, "min_side": 4, "on_error": "fail"},
    **{"test_size": 10, "keep_pixels": False, "keep_images": 100},
}


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("webdataset", {"shards": "???"}, r"^shards: missing; data set 'webdataset' needs it$"),
        ("webdataset", {"test_size": None}, r"^test_size: missing; without test_split or test_shards"),
        ("webdataset", {"keep_images": None}, r"^keep_images: None; needed with keep_pixels false, and only there$"),
        ("webdataset", {"keep_pixels": True}, r"^keep_images: 100; needed with keep_pixels false, and only there$"),
        ("webdataset", {"hub": "user/name"}, r"^hub: not an option of data set 'webdataset'"),
        ("huggingface", {"shards": None, "hub": "user/name"}, r"^revision: None; needed with hub, and only there$"),
        ("huggingface", {"shards": None, "revision": "a" * 40}, r"^revision: 'a+'; needed with hub, and only there$"),
        ("huggingface", {"shards": None, "hub": "u/n", "revision": "main"}, r"^revision: 'main' is no commit; .*move$"),
        ("huggingface", {"shards": None, "test_split": "train"}, r"^test_split: 'train' is the training split too"),
        ("webdataset", {"long_tail": 0.5}, r"^long_tail: not an option of data set 'webdataset'; its options are \["),
        ("image_folder", {"shards": None, "image": None}, r"^keep_pixels: not an option of data set 'image_folder'"),
    ],
)
def test_options_of_data_sets_in_shards_go_together(name: str, changed: dict[str, object], message: str) -> None:
    options = {**STREAMED, "shards": "a.tar", **({"train_split": "train"} if name == "huggingface" else {}), **changed}
    with pytest.raises(InputError, match=message):
        check_source(name, options)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("webdataset", {"shards": "a.tar"}),
        ("webdataset", {"shards": "a.tar", "test_shards": "b.tar", "test_size": None}),
        ("webdataset", {"shards": "a.tar", "keep_pixels": True, "keep_images": None}),
        ("huggingface", {"train_split": "train", "hub": "user/name", "revision": "0123456789" * 4}),
    ],
)
def test_data_sets_in_shards_that_are_right(name: str, more: dict[str, object]) -> None:
    check_source(name, {**STREAMED, **more})
