"""The checks of params.yaml that need the networks and autoencoders themselves, and therefore torch."""

from ngldm.networks.autoencoders.build import AUTOENCODERS, arguments
from ngldm.networks.autoencoders.pretrained import PretrainedSettings
from ngldm.networks.build import NETWORKS
from ngldm.networks.names import AUTO, OWN_SECTIONS
from ngldm.pipeline.config.params import Params


def check_networks(params: Params) -> None:
    """Check the kinds of network and autoencoder and the names of their options; also those of installed packages.

    A pretrained autoencoder must be here already, unless it may be downloaded. What depends on the shape of the latents
    is checked when the network is made.

    Raises:
        InputError: an unknown kind or option, or an option that is missing or out of range.
    """
    if params.network.kind not in (AUTO, *OWN_SECTIONS):
        NETWORKS.check(params.network.kind, params.network.options)
    kind = params.autoencoder.kind
    settings = AUTOENCODERS.check(kind, arguments(kind, params.autoencoder.settings()))
    if isinstance(settings, PretrainedSettings) and not settings.download:
        settings.locate()
