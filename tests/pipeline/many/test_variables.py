"""The numbers in the environment."""

import pytest

from ngldm.io.errors import InputError
from ngldm.pipeline.many.launcher import on_many


@pytest.mark.parametrize(
    ("variable", "text", "most"),
    [("NGLDM_TIMEOUT", "1000000000000", 604800), ("NGLDM_RESTARTS", "9" * 20, 1000), ("NGLDM_NODES", "10001", 10000)],
)
def test_numbers_have_a_bound(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, most: int) -> None:
    monkeypatch.setenv("NGLDM_PROCESSES", "2")
    monkeypatch.setenv(variable, text)
    with pytest.raises(
        InputError, match=f"^{variable}: '{text}' must be a whole number, at least . and at most {most}$"
    ):
        on_many(lambda device: pytest.fail("the work began"))(device="cpu")
