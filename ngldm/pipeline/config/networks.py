"""The checks of params.yaml that need the networks and autoencoders themselves, and therefore torch."""

from ngldm.networks.autoencoders.build import AUTOENCODERS, arguments
from ngldm.networks.autoencoders.pretrained import PretrainedSettings
from ngldm.networks.autoencoders.structure import KIND
from ngldm.networks.build import NETWORKS
from ngldm.networks.names import AUTO, OWN_SECTIONS
from ngldm.pipeline.config.params import Params


def check_networks(params: Params) -> None:
    """Check the kinds of network and autoencoder and the names of their options; also those of installed packages.

    What depends on the shape of the latents is checked when the network is made.

    Raises:
        InputError: an unknown kind or option, or an option that is missing or out of range.
    """
    if params.network.kind not in (AUTO, *OWN_SECTIONS):
        NETWORKS.check(params.network.kind, params.network.options)
    kind = params.autoencoder.kind
    AUTOENCODERS.check(kind, arguments(kind, params.autoencoder.settings()))


def check_pretrained(params: Params) -> None:
    """Check that a pretrained autoencoder is here, unless it may be downloaded.

    Only what is before the stage `autoencoder` calls this: the stages after it need its file alone.

    Raises:
        InputError: it is not; the message says what to do.
    """
    if params.autoencoder.kind == KIND:
        settings = PretrainedSettings(**params.autoencoder.options)
        if not settings.download:
            settings.locate()
