"""The bundle's manifest: everything that a device needs to know before it looks at a frame.

Knows the names, types and limits of the fields. Does not know how a bundle is read or written (bundle.py).
Preprocessing, sizes, colour order, thresholds: all come from here, nothing is guessed from pixels.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from typing_extensions import Self

SCHEMA_VERSION: Final = 1
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MemberName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$", max_length=120)]


def _printed(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected text of one line")
    return text


def _of_our_time(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 9998:  # at the ends no other time zone can be told
        raise ValueError("expected a year from 1970 to 9998")
    return moment


# Whatever is not bounded here, a later reader meets: a count beyond float64, a licence of megabytes.
_Text = Annotated[str, StringConstraints(max_length=2000)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=120), AfterValidator(_printed)]
_Moment = Annotated[AwareDatetime, AfterValidator(_of_our_time)]
_Count = Annotated[int, Field(le=1 << 53)]
_Level = Annotated[int, Field(ge=0, le=100_000)]
_Side = Annotated[int, Field(ge=1, le=1 << 16)]
_LEAST_RATE: Final = 1e-12  # one in so many images can still be counted
# Compared as float32, whose range ends at 3e38.
_Value = Annotated[float, Field(ge=-1e30, le=1e30)]

Precision = Literal["fp32", "fp16", "int8", "int8-fp16"]
Target = Literal["any", "cpu", "tensorrt"]


class _Strict(BaseModel):
    # Pydantic 2.7 would warn of `model_id`.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Member(_Strict):
    """One file inside the bundle: SHA-256 (hex) and size in bytes."""

    sha256: Sha256
    size: _Count = Field(ge=0)


class Backbone(_Strict):
    """The frozen feature extractor. `channels[i]` features come from stride `strides[i]`, in this order."""

    name: _Text
    strides: list[_Side] = Field(max_length=64)
    channels: list[_Side] = Field(max_length=64)
    licence: _Text


class ImageScore(_Strict):
    """How one number is made of a map: the mean of the `pixels` largest values (pixels = 1: the maximum)."""

    kind: Literal["top_mean"] = "top_mean"
    pixels: int = Field(ge=1)


class Reconstruction(_Strict):
    """What the reconstructor graph does inside; for the reader, the runtime does not act on it."""

    steps: int = Field(ge=1, le=1000, description="network evaluations")
    levels: list[_Level] = Field(max_length=1000, description="noise levels t of the 1000-step schedule")
    alpha: float = Field(ge=0, le=1, description="weight of the pixel score in the fused map")
    feature_score: Literal["residual", "likelihood", "whitened", "combined"]
    smoothing_sigma: float = Field(ge=0, le=1e6, description="Gaussian smoothing in input pixels, inside the graph")


class LabelledFigures(_Strict):
    """What an image threshold chosen on labelled parts does to these very parts."""

    good: _Count = Field(ge=1, description="good images")
    defective: _Count = Field(ge=1, description="defective images")
    false_rejects: _Count = Field(ge=0, description="good images above the threshold")
    found: _Count = Field(ge=0, description="defective images above the threshold")

    @model_validator(mode="after")
    def _parts_of_the_whole(self) -> Self:
        if self.false_rejects > self.good or self.found > self.defective:
            raise ValueError("more images above the threshold than there are")
        return self


class Thresholds(_Strict):
    """A value above its threshold is anomalous. What is promised exactly: calibration, thresholds/conformal.py."""

    pixel: _Value
    image: _Value
    good_images: _Count = Field(ge=1, description="good images that the thresholds were set on")
    false_reject_rate: float = Field(ge=_LEAST_RATE, le=1, description="asked for, share of good parts; 1: none was")
    guaranteed_rate: float = Field(gt=0, le=1, description="bound on the chance that the next good part is rejected")
    pixel_rate: float = Field(
        ge=_LEAST_RATE, lt=1, description="asked for, share of good pixels above the pixel threshold"
    )
    confident_rate: float | None = Field(
        default=None, gt=0, le=1, description="with 95 % confidence these images gave no higher false reject rate"
    )
    pixel_guaranteed_rate: float | None = Field(
        default=None, gt=0, le=1, description="bound on the expected share of a new good part's pixels above `pixel`"
    )
    kind: Literal["conformal", "labelled"] = "conformal"
    shared: bool = Field(default=True, description="statistics of the score were fitted on the same images")
    labelled: LabelledFigures | None = Field(default=None, description="of the kind labelled")

    @model_validator(mode="after")
    def _kind_has_its_figures(self) -> Self:
        if (self.kind == "labelled") != (self.labelled is not None):
            raise ValueError("thresholds of the kind labelled, and only these, carry the figures `labelled`")
        return self


class NormalScores(_Strict):
    """Image scores of good parts, thinned to a few of their order statistics: what drift is measured against.

    `values[i]` is the `ranks[i]`-th smallest of `count` scores; the smallest and the largest are always among them.
    """

    count: _Count = Field(ge=2)
    ranks: list[_Count] = Field(min_length=2, max_length=101)
    values: list[_Value] = Field(min_length=2, max_length=101)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if len(self.ranks) != len(self.values):
            raise ValueError(f"{len(self.ranks)} ranks but {len(self.values)} values")
        if self.ranks[0] != 1 or self.ranks[-1] != self.count or self.ranks != sorted(set(self.ranks)):
            raise ValueError(f"ranks must grow from 1 to {self.count}")
        if self.values != sorted(self.values):
            raise ValueError("values must not fall")
        return self


class Variant(_Strict):
    """One precision of the two graphs."""

    precision: Precision
    target: Target
    extractor: MemberName
    reconstructor: MemberName


class Manifest(_Strict):
    """Contents of manifest.json. `members` names every file of the bundle but the manifest and its signature."""

    schema_version: Literal[1] = SCHEMA_VERSION
    model_id: _Name
    version: _Count = Field(ge=1, description="monotonic, grows with every release of the same model id")
    created: _Moment
    input_size: int = Field(ge=32, le=2048, description="S: frames are resized to S x S")
    resize: Literal["stretch"] = "stretch"
    colour_order: Literal["BGR"] = "BGR"
    grid: int = Field(ge=8, le=2048, description="side of the feature grid")
    backbone: Backbone
    reconstruction: Reconstruction
    image_score: ImageScore
    min_defect_pixels: int = Field(
        ge=1, le=2048**2, default=1, description="smaller blobs are erased, in pixels of the S x S map"
    )
    thresholds: Thresholds
    normal_scores: NormalScores | None = Field(default=None, description="of the images that set the thresholds")
    variants: dict[_Name, Variant] = Field(min_length=1, max_length=64)
    default_variant: _Name
    members: dict[MemberName, Member]
    provenance: dict[str, Any] = Field(default_factory=dict)
    licences: list[_Text] = Field(max_length=100, default_factory=list)

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        if self.default_variant not in self.variants:
            raise ValueError(f"default_variant {self.default_variant!r} is not one of {sorted(self.variants)}")
        for name, variant in self.variants.items():
            for graph in (variant.extractor, variant.reconstructor):
                if graph not in self.members:
                    raise ValueError(f"variant {name!r} names {graph!r}, which is not a member")
        return self

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.grid > self.input_size:
            raise ValueError(f"grid {self.grid} is finer than the input of {self.input_size} pixels")
        if self.image_score.pixels > self.input_size**2:
            raise ValueError(f"image_score.pixels {self.image_score.pixels} is more than the map has")
        if len(self.backbone.strides) != len(self.backbone.channels):
            raise ValueError(
                f"backbone has {len(self.backbone.strides)} strides but {len(self.backbone.channels)} channel counts"
            )
        return self
