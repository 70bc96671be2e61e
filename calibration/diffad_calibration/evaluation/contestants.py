"""Who is measured: one signature for all, images in, maps and image scores out.

A contestant from another room (the torch teacher) only has to wear it. Knows no test folder and no metric.
"""

from collections.abc import Callable
from dataclasses import dataclass

from diffad_runtime.result import FloatMap, Image

BATCH = 8

Progress = Callable[[str, int, int], None]


def silent(_what: str, _done: int, _total: int) -> None:
    """No progress."""


def nothing_to_close() -> None:
    """For contestants that hold nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a map is made of, for a picture. float32; pixel and feature may be on a coarser grid than fused (S, S).

    pixel is None where the fused map does not use it.
    """

    pixel: FloatMap | None
    feature: FloatMap
    fused: FloatMap


@dataclass(frozen=True, slots=True, eq=False)
class Display:
    """How to make pictures of a contestant's answer.

    Attributes:
        parts: uint8 (S, S, 3) -> Parts.
        pixel_threshold: a fused value above it is a defect pixel.
        min_defect_pixels: smaller blobs are left out of the mask, in pixels of the S x S map.
    """

    parts: Callable[[Image], Parts]
    pixel_threshold: float
    min_defect_pixels: int = 1


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """What only a bundle's variant has.

    Attributes:
        graphs_mb: megabytes (10^6 bytes) of its two graphs.
        against: name of the contestant from whose verdicts its own are counted; None where that one is not measured.
    """

    graphs_mb: float
    against: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """One model to be measured on one category.

    Attributes:
        name: as in tables; the same in every category.
        maps: uint8 (N, S, S, 3) -> float32 (N, S, S); called with parts of the test set.
        score: one map -> image score.
        note: a few words for the table.
        threshold: image threshold where the model has one, else None.
        display: for pictures, where the model can show its parts.
        variant: of a bundle's variant, else None.
        close: frees what it holds; called once, after its category.
    """

    name: str
    maps: Callable[[Image], FloatMap]
    score: Callable[[FloatMap], float]
    note: str = ""
    threshold: float | None = None
    display: Display | None = None
    variant: VariantFacts | None = None
    close: Callable[[], None] = nothing_to_close
