"""Which options go with which data set."""

import pytest

from ngldm.data.sources.names import SOURCE_OPTIONS, check_source
from ngldm.data.sources.registry import SOURCES
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


def test_a_missing_option_is_named():
    with pytest.raises(InputError, match=r"^test_size: missing; data set 'digits' needs it$"):
        check_source("digits", {"test_size": None})
