"""The sections of params.yaml that choose the networks: the one that is trained, and the autoencoder."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ngldm.io.limits import MAX_BLOCKS, MAX_LEVELS
from ngldm.io.registry import require_known
from ngldm.networks.autoencoders.names import AUTOENCODERS, OWN_KEYS
from ngldm.networks.names import AUTO, NETWORKS, OWN_SECTIONS, TIME_EMBEDDINGS
from ngldm.pipeline.config.sections import Fit, Fraction, OneOf, Repeats, Section, Width

LEAST_WIDTH = 2

LABEL_DROPOUT = 0.1  # Ho and Salimans 2022


class NetworkParams(Section):
    """The network that is trained."""

    kind: str = Field(
        default=AUTO, description=f"{', '.join(NETWORKS)}, or one of your own; auto: unet for images, mlp for points"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the other kinds; unet and mlp have sections of these names"
    )
    num_classes: Annotated[int, Field(ge=2)] | Literal["auto"] | None = Field(
        default=None,
        description="the network gets the class of each image; auto: the classes of the data set; a number must be "
        "theirs; null: no classes (docs/howto-classes.md)",
    )
    label_dropout: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None,
        description="with num_classes: how often training gives no class instead, which guidance needs; null: 0.1",
    )

    @model_validator(mode="after")
    def _options_fit(self) -> "NetworkParams":
        require_known("network.kind", self.kind, NETWORKS, "ngldm.networks")
        if self.options and self.kind in (AUTO, *OWN_SECTIONS):
            raise ValueError(
                f"options: {self.options} has no effect with kind {self.kind!r}, whose options are the section of its "
                f"name: {', '.join(OWN_SECTIONS)}"
            )
        if self.label_dropout is not None and self.num_classes is None:
            raise ValueError(f"label_dropout: {self.label_dropout} has no effect without num_classes")
        return self

    def arguments(self) -> dict[str, Any]:
        """Arguments of `ngldm.model.item_settings`: `network`, and `classes` if it gets them."""
        chosen = {"network": self.model_dump(include={"kind", "options"})}
        if self.num_classes is None:
            return chosen
        dropout = LABEL_DROPOUT if self.label_dropout is None else self.label_dropout
        return {**chosen, "classes": {"num_classes": self.num_classes, "label_dropout": dropout}}


class UNetParams(Section):
    widths: Annotated[list[Width], Field(min_length=1, max_length=MAX_LEVELS)] = Field(
        description="channels per level, finest first"
    )
    blocks_per_level: Annotated[int, Field(gt=0, le=MAX_BLOCKS)] = Field(description="residual blocks per level")
    attention_levels: list[Annotated[int, Field(ge=0)]] = Field(description="indices of levels with self-attention")
    attention_head_dim: Width = Field(description="channels per attention head")
    time_embedding: Annotated[str, OneOf(TIME_EMBEDDINGS)] = Field(description="how t is given to the network")
    dropout: Fraction = Field(description="dropout probability in each block")

    @model_validator(mode="after")
    def _levels_exist(self) -> "UNetParams":
        if self.widths[0] < LEAST_WIDTH:
            raise ValueError(
                f"widths: {self.widths} must start with at least {LEAST_WIDTH}: t enters by sine and cosine"
            )
        for level in self.attention_levels:
            if level >= len(self.widths):
                raise ValueError(f"attention_levels: {level} is not an index into the {len(self.widths)} widths")
            if self.widths[level] % self.attention_head_dim:
                raise ValueError(f"attention_head_dim: {self.attention_head_dim} does not divide widths[{level}]")
        return self


class MLPParams(Section):
    """The network for points."""

    width: Width = Field(description="of the hidden layers")
    depth: Repeats = Field(description="residual layers")


class AutoencoderParams(Section):
    kind: str = Field(
        description=f"{', '.join(AUTOENCODERS)} (pretrained), or one of your own; identity: latents are pixels"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of diffusers and of your own kinds")
    latent_channels: Width = Field(description="channels of the latent (paper, kl)")
    latent_size: Width = Field(description="side of the latent in pixels (paper)")
    levels: Annotated[int, Field(gt=0, le=MAX_LEVELS)] = Field(description="halvings of the side (kl)")
    width: Width = Field(description="channels of the hidden layers (paper, kl)")
    kl_weight: float = Field(ge=0.0, description="weight of the KL term per image dimension (kl)")
    fit: Fit

    @model_validator(mode="after")
    def _options_fit(self) -> "AutoencoderParams":
        require_known("autoencoder.kind", self.kind, AUTOENCODERS, "ngldm.autoencoders")
        if self.options and self.kind in OWN_KEYS:
            raise ValueError(f"options: {self.options} has no effect with kind {self.kind!r}; its options are the keys")
        return self

    def settings(self) -> dict[str, Any]:
        """The keys for `ngldm.networks.autoencoders.build.build_autoencoder`."""
        return self.model_dump(exclude={"fit"} if self.options else {"fit", "options"})
