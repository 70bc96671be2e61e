"""What a report shows, as plain data.

Knows no file, no colour, no HTML. Whoever measures fills these in; `write_report` draws them.
Comparing two of these objects compares identities: arrays have no single truth value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    """

    model: str
    metrics: Mapping[str, float | None]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ClassTable:
    """All models on one class; the macro average is a class of its own, named "macro"."""

    name: str
    rows: list[ModelRow]


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
    """Image scores of one model, 1-D arrays, and the threshold above which a part is rejected."""

    model: str
    good: npt.NDArray[np.floating]
    defective: npt.NDArray[np.floating]
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One inspected frame.

    Attributes:
        name: file name or number.
        kind: kind of defect, "good" for a good part, "" where it is not known.
        image: uint8 (H, W, 3), BGR.
        truth: uint8 (H, W), non-zero = defect, None where there is no mask.
        pixel, feature, fused: float32, any size; each is stretched over the image.
        mask: uint8 (H, W), non-zero = found defect.
        score, threshold: image score and the threshold in force.
        verdict: "OK", "NG" or "ERROR".
    """

    name: str
    kind: str
    image: Image
    truth: Image | None
    pixel: FloatMap
    feature: FloatMap
    fused: FloatMap
    mask: Image
    score: float
    threshold: float
    verdict: str


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """A whole report. Empty lists leave their section out.

    Attributes:
        title, subtitle: plain text.
        facts: (label, value): data set, size, bundle digest, machine, command, date, map and mask resolution.
        classes: detection figures, one table a class.
        timings: latency.
        histograms: one drawing a model.
        examples: picture rows, in the order shown.
        warnings: what the reader must know before believing the figures, one sentence each.
    """

    title: str
    subtitle: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    classes: list[ClassTable] = field(default_factory=list)
    timings: list[TimingRow] = field(default_factory=list)
    histograms: list[ScoreHistogram] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
