"""The code of networks and autoencoders that a user's own package registers. No stage's deps name it."""

from typing import Any

from ngldm.io.registry import Registry
from ngldm.networks.autoencoders.build import AUTOENCODERS
from ngldm.networks.build import NETWORKS
from ngldm.pipeline.closure import own_code


def own_network(kind: str) -> dict[str, Any]:
    """What a result of this kind of network also depends on, to be joined with `ngldm.pipeline.closure.made_from`.

    Returns:
        {"own_network": {<kind>: <hash of its code>}} if another package than ngldm registers it, else {}.

    Raises:
        InputError: there is none of that kind.
    """
    return _own("own_network", NETWORKS, kind)


def own_autoencoder(kind: str) -> dict[str, Any]:
    """As `own_network`, for an autoencoder: {"own_autoencoder": {<kind>: <hash>}} or {}.

    Raises:
        InputError: there is none of that kind.
    """
    return _own("own_autoencoder", AUTOENCODERS, kind)


def _own(key: str, registry: Registry[Any], kind: str) -> dict[str, Any]:
    code = own_code(registry.find(kind).function)
    return {} if code is None else {key: {kind: code}}
