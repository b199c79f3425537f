"""How much is taken from a file, and how a limit is raised."""

import pytest

from ngldm.io.errors import InputError
from ngldm.io.limits import (
    FREE_BYTES,
    MAX_NESTED,
    MAX_VALUES,
    limit,
    require_cells,
    require_members,
    require_shallow,
    require_unpacked,
    require_values,
)


@pytest.mark.parametrize("text", ["x", "-1", "0", "1.5", "1e9", "9" * 30, "\u0661"])
def test_a_limit_is_a_whole_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NGLDM_MAX_RATIO", text)
    with pytest.raises(InputError, match=r"NGLDM_MAX_RATIO: .* whole number"):
        limit("NGLDM_MAX_RATIO")


def test_the_ratio_counts_beyond_the_first_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    require_unpacked("x.tar", FREE_BYTES, 1)
    require_unpacked("x.tar", 1000 * 2**20, 2**20)
    with pytest.raises(InputError, match=r"x.tar has 1048576 bytes .* NGLDM_MAX_RATIO"):
        require_unpacked("x.tar", 1000 * 2**20 + 1, 2**20)
    monkeypatch.setenv("NGLDM_MAX_RATIO", "2000")
    require_unpacked("x.tar", 1000 * 2**20 + 1, 2**20)


@pytest.mark.parametrize(
    ("variable", "check"),
    [
        ("NGLDM_MAX_UNPACKED", lambda count: require_unpacked("x", count, count)),
        ("NGLDM_MAX_MEMBERS", lambda count: require_members("x", count)),
        ("NGLDM_MAX_CELLS", lambda count: require_cells("x", count)),
    ],
)
def test_a_limit_is_named_and_can_be_raised(monkeypatch: pytest.MonkeyPatch, variable: str, check) -> None:
    most = limit(variable)
    check(most)
    with pytest.raises(InputError, match=variable):
        check(most + 1)
    monkeypatch.setenv(variable, str(most + 1))
    check(most + 1)


@pytest.mark.parametrize("shape", [(), (0,), (3, -1, 4), (1, MAX_VALUES + 1), (2**20, 2**20, 2**20)])
def test_shapes_of_items_have_a_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="image_shape"):
        require_values("image_shape", shape)


def test_depth_and_number_of_values() -> None:
    deep: object = 1
    for _ in range(MAX_NESTED - 1):
        deep = [deep]
    require_shallow("x", deep)
    with pytest.raises(InputError, match="inside each other"):
        require_shallow("x", [deep])
    require_shallow("x", {"a": [1] * 97})
    with pytest.raises(InputError, match="more than 100 values"):
        require_shallow("x", {"a": [1] * 100}, 100)
