"""The code of noises that a user's own package registers. It is outside ngldm, so no stage's deps name it."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from ngldm.noise import noise_factory
from ngldm.pipeline.closure import own_code


def own_noise(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a result that draws this noise also depends on, to be joined with `ngldm.pipeline.closure.made_from`.

    Args:
        name: a registered distribution.
        params: its parameters. Noises that they describe count too: {distribution: <name>, <its parameters>}.

    Returns:
        {"own_noise": {<distribution>: <hash of its code>}} with the distributions of other packages than ngldm; {} if
        there are none. The code is the file of the function that was registered, and the files of the same package
        that it imports.

    Raises:
        InputError: a distribution is not registered.
    """
    found = {label: code for label, code in _hashes(name, params) if code is not None}
    return {"own_noise": found} if found else {}


def _hashes(name: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    factory = noise_factory(name)
    yield name, own_code(factory)
    defaults = {key: parameter.default for key, parameter in inspect.signature(factory).parameters.items()}
    for distribution, options in _described({**defaults, **params}):
        yield from _hashes(distribution, options)


def _described(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and parameters of each noise that a parameter describes."""
    if isinstance(value, Mapping) and isinstance(value.get("distribution"), str):
        yield value["distribution"], {key: option for key, option in value.items() if key != "distribution"}
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _described(part)
