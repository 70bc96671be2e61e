"""The section "How the model sees it": what explain.py found, and how it becomes rows of pictures on the page.

Two forms of picture row, after Figures 6 and 7 of Lu et al., ICCV 2023: the way from the image to its maps, and strips
of an image on its way to a normal one. Knows plain arrays, words and PNG. Does not know networks, nor how a page is
written. Comparing two of these objects compares identities: arrays have no single truth value.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np

from diffad_calibration.report import glossary
from diffad_calibration.report.data import GOOD, Example
from diffad_calibration.report.pictures import Scales, draw, shared_scales
from diffad_calibration.report.tables import scale_row, score_text
from diffad_runtime.result import FloatMap, Image

StripKind = Literal["gradient", "ddim", "ancestral"]

STRIPS: dict[StripKind, tuple[str, str]] = {
    "gradient": (
        "Gradient denoising",
        "In small steps the image moves towards features of good parts; every few steps the diffusion model takes out "
        "what does not look like a part. What vanishes is what the model holds to be abnormal. Fine texture is "
        "smoothed along the way, on good parts too.",
    ),
    "ddim": (
        "Reverse chain, DDIM",
        "Noise is put on the image, then taken off step by step without drawing any new. What the noise has covered "
        "is filled in with what is usual on good parts; defects larger than the noise can hide stay.",
    ),
    "ancestral": (
        "Reverse chain, ancestral",
        "The same with fresh noise drawn at every step: texture stays grainy, and another seed ends elsewhere.",
    ),
}
"""Heading and meaning of each way to a normal image."""

NUMBERS = (
    (
        "Score",
        "The model's image score of that very picture. Where it hears fine texture it rises on the way, as the steps "
        "smooth texture too: compare it with the good part's strip.",
    ),
    (
        "Distance",
        "The largest Mahalanobis distance of the picture's features from those of good parts at the same place: what "
        "gradient denoising lowers. Compare it with the good part's own.",
    ),
)

COLUMNS = (
    ("image", "Image", "test image"),
    ("truth", "Truth", "marked defect"),
    ("noised", "Noised", "noised image, as the network gets it"),
    ("reconstruction", "Reconstruction", "clean image as the network believes it to be"),
    ("pixel", glossary.PIXEL_COLUMN, "pixel KL map"),
    ("feature", glossary.FEATURE_COLUMN, "feature map"),
    ("fused", "Fused", "fused map on the image"),
)
"""Key, heading and alternative text of the first picture row."""

_SHOWN_SIDE = 256


@dataclass(frozen=True, slots=True, eq=False)
class StripFrame:
    """One picture of a strip.

    Attributes:
        image: uint8 (S, S, 3), BGR.
        words: where on the way it is, "step 20" or "t = 201".
        score: the model's image score of this picture, None where it was not measured.
        distance: largest distance of its features from those of good parts, None where no guide was used.
    """

    image: Image
    words: str
    score: float | None = None
    distance: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """An image on its way, the image as it was first."""

    kind: StripKind
    frames: tuple[StripFrame, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """One test image, explained.

    Attributes:
        name: file name or number.
        kind: kind of defect, "good" for a good part.
        image, noised, reconstruction: uint8 (S, S, 3), BGR.
        truth: uint8 (S, S), non-zero = defect, None where there is no mask.
        pixel, feature, fused: float32, any size; each is stretched over the image.
        score: image score.
        timestep: t of the 1000-step chain that `noised` stands at.
        strips: in the order shown.
        seconds: what it took to make all this.
        category: name of the category, "" where there is only one.
    """

    name: str
    kind: str
    image: Image
    truth: Image | None
    noised: Image
    reconstruction: Image
    pixel: FloatMap
    feature: FloatMap
    fused: FloatMap
    score: float
    timestep: int
    strips: tuple[Strip, ...] = ()
    seconds: float = 0.0
    category: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedSection:
    """What explained.html.j2 shows: ReportData.explained.

    Attributes:
        rows: one dictionary an image.
        columns: (key, heading, alt text) of the first picture row.
        scales: colour scales of the three maps.
        meanings: (name, meaning) of the ways and the numbers shown.
        seconds: what an image took, in words.
        pictures: file name -> PNG bytes; they must lie in the page's picture folder.
    """

    rows: list[dict[str, Any]]
    columns: tuple[tuple[str, str, str], ...]
    scales: list[dict[str, str]]
    meanings: list[tuple[str, str]]
    seconds: str
    pictures: dict[str, bytes] = field(default_factory=dict)


def explained_context(
    explanations: Sequence[Explanation], pictures: dict[str, bytes] | None = None
) -> ExplainedSection | None:
    """Draw the section; None when there is nothing to show.

    Args:
        explanations: in the order shown.
        pictures: file name -> PNG bytes of the whole page; the section's own are added to it.
    """
    if not explanations:
        return None
    examples = [_example(one) for one in explanations]
    scales = shared_scales(examples)
    own: dict[str, bytes] = {}
    rows = [_row(n, one, ex, scales, own) for n, (one, ex) in enumerate(zip(explanations, examples, strict=True))]
    kinds = dict.fromkeys(strip.kind for one in explanations for strip in one.strips)
    if pictures is not None:
        pictures.update(own)
    return ExplainedSection(
        rows=rows,
        columns=COLUMNS,
        scales=[
            scale_row(glossary.PIXEL_COLUMN, scales.pixel),
            scale_row(glossary.FEATURE_COLUMN, scales.feature),
            scale_row(glossary.FUSED_COLUMN, scales.fused),
        ],
        meanings=[*(STRIPS[kind] for kind in kinds), *NUMBERS],
        seconds=f"{np.median([one.seconds for one in explanations]):.0f} s an image",
        pictures=own,
    )


def _row(number: int, one: Explanation, example: Example, scales: Scales, pictures: dict[str, bytes]) -> dict[str, Any]:
    drawn = draw(example, scales)
    height, width = drawn["image"].shape[:2]
    drawn |= {"noised": _enlarged(one.noised), "reconstruction": _enlarged(one.reconstruction)}
    prefix = f"x{number:02d}"
    files = {key: f"{prefix}-{key}.png" for key in drawn}
    pictures.update({files[key]: _png(picture) for key, picture in drawn.items()})
    return {
        "id": f"explained-{number + 1}",
        "name": one.name,
        "kind": one.kind,
        "category": one.category,
        "score": score_text(one.score),
        "timestep": one.timestep,
        "files": files,
        "width": width,
        "height": height,
        "no_truth": "good part, nothing marked" if one.kind == GOOD else "no mask given",
        "strips": [_strip(prefix, strip, pictures) for strip in one.strips],
    }


def _strip(prefix: str, strip: Strip, pictures: dict[str, bytes]) -> dict[str, Any]:
    frames = []
    for place, frame in enumerate(strip.frames):
        picture, name = _enlarged(frame.image), f"{prefix}-{strip.kind}-{place:02d}.png"
        pictures[name] = _png(picture)
        frames.append(
            {
                "file": name,
                "words": frame.words,
                "score": None if frame.score is None else score_text(frame.score),
                "distance": None if frame.distance is None else score_text(frame.distance),
                "width": picture.shape[1],
                "height": picture.shape[0],
            }
        )
    return {"kind": strip.kind, "heading": STRIPS[strip.kind][0], "frames": frames}


def _example(one: Explanation) -> Example:
    """In the words of pictures.py; without a threshold there is no mask to outline."""
    return Example(
        name=one.name,
        kind=one.kind,
        image=one.image,
        truth=one.truth,
        pixel=one.pixel,
        feature=one.feature,
        fused=one.fused,
        mask=np.zeros(one.image.shape[:2], np.uint8),
        score=one.score,
        threshold=float("nan"),
        verdict="",
    )


def _enlarged(image: Image) -> Image:
    """By a whole factor up to about 256 px, smoothly: browsers blur small pictures each in their own way."""
    factor = -(-_SHOWN_SIDE // max(image.shape[:2]))
    if factor <= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)


def _png(picture: Image) -> bytes:
    _, encoded = cv2.imencode(".png", picture)
    return encoded.tobytes()
