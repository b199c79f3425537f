"""The section `dataset` of params.yaml: which data set, and its options."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ngldm.data.sources.names import SOURCE_OPTIONS, TAILS, check_source
from ngldm.io.limits import MAX_REPEATS, MAX_SIDE, require_cells
from ngldm.networks.autoencoders.names import TRANSFORMS
from ngldm.pipeline.config.dataset.source import check_spelling
from ngldm.pipeline.config.sections import Items, OneOf, Positive, Section, Width
from ngldm.sampling.names import MAX_SEED


class LawParams(Section):
    """A synthetic law of points: x = centre of a random mode + scale * z (`ngldm.data.sources.points.laws`)."""

    dim: Width = Field(description="columns d")
    tails: Annotated[str, OneOf(TAILS)] = Field(description="law of z")
    shared: bool = Field(description="true: one random radius per point; false: independent coordinates")
    df: Positive | None = Field(default=None, description="degrees of freedom (student_t)")
    alpha: Annotated[float, Field(gt=0.0, lt=2.0)] | None = Field(default=None, description="index (stable)")
    weights: Annotated[list[Positive], Field(min_length=1, max_length=MAX_REPEATS)] = Field(
        description="of the modes; divided by their sum"
    )
    radius: float = Field(ge=0.0, description="distance of the centres of the modes from the origin")
    scale: Positive = Field(description="of z")

    @model_validator(mode="after")
    def _options_fit_tails(self) -> "LawParams":
        for key, owner in (("df", "student_t"), ("alpha", "stable")):
            if (getattr(self, key) is None) == (self.tails == owner):
                raise ValueError(f"{key}: {getattr(self, key)}; needed with tails {owner!r}, and only there")
        return self


class DatasetParams(Section):
    name: Annotated[str, OneOf(tuple(SOURCE_OPTIONS))] = Field(description="which data set")
    source: str = Field(
        description="path that DVC checks for changes: images (image_folder, huggingface), shards (webdataset), table "
        "(points), or a file of conf"
    )
    test_size: Items | None = Field(
        default=None,
        description="number of test images (digits, photographs; image_folder without train/ and test/; huggingface "
        "and webdataset, where with test shards it is the most that are used) or test points (points)",
    )
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="seed of the split")
    mirror: str | None = Field(
        default=None, description="address to use instead of the authors' server; ends in / (cifar10, fashion_mnist)"
    )
    size: Annotated[int, Field(gt=0, le=MAX_SIDE)] | None = Field(
        default=None,
        description="side of the square images, in pixels (image_folder, huggingface, webdataset, photographs)",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 is grey, 3 is RGB (image_folder, huggingface, webdataset)"
    )
    min_side: Width | None = Field(
        default=None, description="smallest side of a usable file (image_folder, huggingface, webdataset)"
    )
    on_error: Literal["fail", "skip"] | None = Field(
        default=None,
        description="on an unusable file or shard: fail stops, skip leaves it out and reports it (the same three)",
    )
    long_tail: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None,
        description="class c keeps n_0 long_tail^c training images, n_0 those of class 0; the others are held out, for "
        "the extractor only (images with labels)",
    )
    keep_pixels: bool | None = Field(
        default=None,
        description="true: all images as arrays on disk; false: latents only, and a sample of images (huggingface, "
        "webdataset)",
    )
    keep_images: Annotated[Items, Field(ge=2)] | None = Field(
        default=None,
        description="with keep_pixels false: random training images kept as pixels, for the autoencoder and the scores",
    )
    image: str | None = Field(
        default=None, description="column of the images (huggingface), or their suffixes such as jpg;png (webdataset)"
    )
    label: str | None = Field(
        default=None, description="column (huggingface) or suffix (webdataset) of the classes; null: there are none"
    )
    hub: str | None = Field(default=None, description="name on the hub, user/name; null: read source (huggingface)")
    revision: str | None = Field(default=None, description="commit on the hub, 40 hex digits (huggingface)")
    subset: str | None = Field(default=None, description="configuration on the hub, if it has several (huggingface)")
    train_split: str | None = Field(default=None, description="name of the training split (huggingface)")
    test_split: str | None = Field(
        default=None, description="name of the test split; null: test_size random images (huggingface)"
    )
    shards: str | None = Field(
        default=None,
        description="training shards: tar files by brace pattern, below source or with an address (webdataset)",
    )
    test_shards: str | None = Field(default=None, description="test shards; null: test_size random images (webdataset)")
    transform: Annotated[str, OneOf(TRANSFORMS)] | None = Field(
        default=None, description="what is applied before training and undone after sampling (points)"
    )
    train_size: Items | None = Field(
        default=None, description="training points of a law, or training crops (points, photographs)"
    )
    law: LawParams | None = Field(default=None, description="draw points of this law; null: read the table in source")

    @model_validator(mode="before")
    @classmethod
    def _source_is_a_path(cls, content: object) -> object:
        if isinstance(content, dict) and "source" in content:
            check_spelling(content["source"])
        return content

    @model_validator(mode="after")
    def _options_fit_name(self) -> "DatasetParams":
        check_source(self.name, self.model_dump(exclude={"name", "source", "seed"}))
        if self.law is not None:
            points = max(self.train_size or 0, self.test_size or 0)
            require_cells(f"train_size, test_size: {points} points of law.dim = {self.law.dim}", points * self.law.dim)
        if self.mirror is not None and not self.mirror.endswith("/"):
            raise ValueError(f"mirror: {self.mirror!r} must end in /")
        return self
