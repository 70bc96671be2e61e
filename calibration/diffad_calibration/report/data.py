"""What a report shows, as plain data.

Knows no file, no colour, no HTML. Whoever measures fills these in; `write_report` draws them.
Comparing two of these objects compares identities: arrays have no single truth value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from diffad_runtime.result import FloatMap, Image

GOOD = "good"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Figures of one model on one class.

    Attributes:
        model: as the reader knows it, "student int8".
        metrics: metric key (see glossary.METRICS) to value, None where it is undefined. Missing keys read as None.
        note: a few words under the name, "" for none.
        intervals: metric key to (low, high), printed small under the figure; missing keys have none.
    """

    model: str
    metrics: Mapping[str, float | None]
    note: str = ""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClassTable:
    """All models on one class, or their means over all classes."""

    name: str
    rows: list[ModelRow]


@dataclass(frozen=True, slots=True)
class LeadRow:
    """The first model minus another: metric key to (difference, low, high)."""

    model: str
    differences: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One precision of the shipped model.

    Attributes:
        model: as the reader knows it.
        metrics: metric key to value, means over the categories.
        flips: test images on which its verdict is another than that of `against`, None where that is not known.
        images: test images.
        graphs_mb: megabytes of its graphs.
        against: the model whose verdicts count, "" for none.
    """

    model: str
    metrics: Mapping[str, float | None]
    flips: int | None
    images: int
    graphs_mb: float
    against: str = ""


@dataclass(frozen=True, slots=True)
class TimingRow:
    """Latency of one contestant or stage in milliseconds; `ratio` is free text, as in "2.3x faster"."""

    name: str
    p50: float
    p95: float
    p99: float
    ratio: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreHistogram:
    """Image scores of one model, 1-D arrays, and the threshold above which a part is rejected, None without one."""

    model: str
    good: npt.NDArray[np.floating]
    defective: npt.NDArray[np.floating]
    threshold: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One line of a chart: x and y float, 1-D, x ascending."""

    model: str
    x: npt.NDArray[np.floating]
    y: npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """Curves of one kind, one a model. Without curves it is left out."""

    kind: Literal["image_roc", "pixel_roc", "pro"]
    curves: list[Curve]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One inspected frame.

    Attributes:
        name: file name or number.
        kind: kind of defect, "good" for a good part, "" where it is not known.
        image: uint8 (H, W, 3), BGR.
        truth: uint8 (H, W), non-zero = defect, None where there is no mask.
        pixel, feature, fused: float32, any size; each is stretched over the image. pixel is None where the model has
            no pixel score.
        mask: uint8 (H, W), non-zero = found defect.
        score, threshold: image score and the threshold in force, NaN without one.
        verdict: "OK", "NG" or "ERROR", "" without a threshold.
        remark: where the score stands among the others, one line.
    """

    name: str
    kind: str
    image: Image
    truth: Image | None
    pixel: FloatMap | None
    feature: FloatMap
    fused: FloatMap
    mask: Image
    score: float
    threshold: float
    verdict: str
    remark: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Category:
    """One category. Empty lists leave their part out.

    Attributes:
        name: of the category.
        facts: (label, value).
        table: its figures, one row a model.
        charts: curves, one line a model.
        histograms: one drawing a model.
        examples: picture rows of typical parts; misses, alarms: of the worst ones, worst first.
        judged: whether the first model has a threshold, so that "no missed defects" can be said.
    """

    name: str
    table: ClassTable
    facts: list[tuple[str, str]] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    histograms: list[ScoreHistogram] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    misses: list[Example] = field(default_factory=list)
    alarms: list[Example] = field(default_factory=list)
    judged: bool = True


@dataclass(slots=True, eq=False)
class ReportData:
    """A whole report. Empty lists leave their section out.

    Attributes:
        title, subtitle: plain text.
        facts: (label, value): data set, size, bundle digest, machine, command, date, map and mask resolution.
        first: the model that all others are compared with, and that made the pictures.
        interval_words: what the small print under a figure is, "" where there is none.
        macro: means over the categories, None where there is one category only.
        leads: the first model against each other one.
        variants: the shipped model's precisions beside each other.
        categories: one or more.
        timings: latency.
        warnings: what the reader must know before believing the figures, one sentence each.
        explained: what explained.html.j2 shows, None to leave it out; its attribute `pictures` (file name -> PNG bytes)
            lies in the page's picture folder, where the template finds it under "pictures-unnamed/NAME".
    """

    title: str
    subtitle: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    first: str = ""
    interval_words: str = ""
    macro: ClassTable | None = None
    leads: list[LeadRow] = field(default_factory=list)
    variants: list[VariantRow] = field(default_factory=list)
    categories: list[Category] = field(default_factory=list)
    timings: list[TimingRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    explained: Any = None
