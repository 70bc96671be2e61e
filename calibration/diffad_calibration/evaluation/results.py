"""What an evaluation found: figures, scores and curves by class and model, intervals, and differences of models.

Knows no image and no engine: a category's are gone when its figures stand here. Knows the JSON that `eval` prints.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from diffad_calibration.evaluation.contestants import VariantFacts
from diffad_calibration.metrics import FIGURES, Bootstrap, ClassCurves, ClassMetrics, Interval, Replicates
from diffad_calibration.metrics.bootstrap import difference, intervals, macro
from diffad_calibration.metrics.summary import macro_average
from diffad_calibration.report.data import Example

Lead = dict[str, tuple[float, float, float]]
"""Figure -> difference, low, high."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One contestant on one class.

    Attributes:
        metrics: its figures.
        scores: float64 (N,), image scores in the order of the samples.
        note, threshold, variant: as its Contestant had them.
        curves: for drawing.
        intervals: bootstrap interval of each figure; empty where none was asked for.
        replicates: float64 (B,) of each figure, what the intervals are made of.
    """

    metrics: ClassMetrics
    scores: npt.NDArray[np.float64]
    note: str = ""
    threshold: float | None = None
    variant: VariantFacts | None = None
    curves: ClassCurves = field(default_factory=ClassCurves)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    replicates: Replicates = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Frames of one class worth looking at, with the first model's answer."""

    typical: list[Example] = field(default_factory=list)
    misses: list[Example] = field(default_factory=list)
    alarms: list[Example] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class ClassResult:
    """One class.

    Attributes:
        name: of the class.
        labels: int64 (N,), 0 = good, 1 = defective; kinds, names: N each.
        models: by contestant's name, in the order measured.
        pictures: empty where none were asked for, or the first model cannot show its parts.
    """

    name: str
    labels: npt.NDArray[np.int64]
    kinds: list[str]
    names: list[str]
    models: dict[str, Scored] = field(default_factory=dict)
    pictures: Pictures = field(default_factory=Pictures)

    def flips(self, model: str) -> int | None:
        """Images on which a variant's verdict is another than that of the model it is held against.

        None where it is held against none, or one of the two has no threshold.
        """
        one = self.models[model]
        other = self.models.get(one.variant.against or "") if one.variant is not None else None
        if other is None or one.threshold is None or other.threshold is None:
            return None
        return int(np.count_nonzero((one.scores > one.threshold) != (other.scores > other.threshold)))


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All classes and models.

    Attributes:
        size: map and mask resolution, pixels.
        first: the model that matters: the one that the product ships, or the teacher that is measured.
        classes: one or more, each with the same models.
        bootstrap: how the intervals were made, None where there are none.
    """

    size: int
    first: str
    classes: list[ClassResult]
    bootstrap: Bootstrap | None = None

    @property
    def models(self) -> list[str]:
        """Names, in the order measured."""
        return list(self.classes[0].models)

    def macro(self, model: str) -> ClassMetrics:
        """Mean over classes."""
        return macro_average({c.name: c.models[model].metrics for c in self.classes})

    def variant(self, model: str) -> VariantFacts | None:
        """Of a bundle's variant, else None."""
        return self.classes[0].models[model].variant

    def flips(self, model: str) -> int | None:
        """Sum over classes; None where it is None of one."""
        counts = [result.flips(model) for result in self.classes]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def macro_intervals(self, model: str) -> dict[str, Interval]:
        """Intervals of the means; empty where there are none."""
        if self.bootstrap is None:
            return {}
        return intervals(macro([c.models[model].replicates for c in self.classes]), self.bootstrap.level)

    def lead(self, other: str, name: str | None = None) -> Lead:
        """The first model minus another, on the same draws.

        Args:
            name: of a class; None: of the macro average.

        Returns:
            By figure: difference, low, high. Empty where there are no intervals.
        """
        if self.bootstrap is None:
            return {}
        chosen = [c for c in self.classes if name in (None, c.name)]
        pairs = [(c.models[self.first].replicates, c.models[other].replicates) for c in chosen]
        found = intervals(macro([difference(*pair) for pair in pairs]), self.bootstrap.level)
        ours, theirs = (
            macro_average({c.name: c.models[m].metrics for c in chosen}).to_dict() for m in (self.first, other)
        )
        lead: Lead = {}
        for figure in FIGURES:
            a, b = ours[figure], theirs[figure]
            if figure in found and a is not None and b is not None:
                lead[figure] = (a - b, *found[figure])
        return lead

    def to_json(self) -> dict[str, object]:
        """`classes` and `macro` are those of the first model, `models` holds the same for every model.

        With a bootstrap also `bootstrap`, `intervals` ([low, high] by figure) beside every `classes` and `macro`, and
        `lead`: the first model minus each other, [difference, low, high] by figure.
        A bundle's variants also have `graphs_mb` and `decision_flips` in `models`.
        """
        figures: dict[str, dict[str, object]] = {}
        for model in self.models:
            figures[model] = {
                "classes": {c.name: c.models[model].metrics.to_dict() for c in self.classes},
                "macro": self.macro(model).to_dict(),
            }
            if self.bootstrap is not None:
                figures[model]["intervals"] = {
                    "classes": {c.name: _lists(c.models[model].intervals) for c in self.classes},
                    "macro": _lists(self.macro_intervals(model)),
                }
        models = {model: {**figures[model], **self._variant_json(model)} for model in self.models}
        record = {**figures[self.first], "model": self.first, "resolution": self.size, "models": models}
        if self.bootstrap is None:
            return record
        others = [model for model in self.models if model != self.first]
        record["lead"] = {
            other: {
                "classes": {c.name: _lists(self.lead(other, c.name)) for c in self.classes},
                "macro": _lists(self.lead(other)),
            }
            for other in others
        }
        record["bootstrap"] = {
            "resamples": self.bootstrap.resamples,
            "level": self.bootstrap.level,
            "seed": self.bootstrap.seed,
        }
        return record

    def _variant_json(self, model: str) -> dict[str, object]:
        facts = self.variant(model)
        if facts is None:
            return {}
        classes = {c.name: c.flips(model) for c in self.classes}
        flips = {"against": facts.against, "classes": classes, "all": self.flips(model)}
        return {"graphs_mb": facts.graphs_mb, "decision_flips": flips}


def _lists(values: Mapping[str, tuple[float, ...]]) -> dict[str, list[float]]:
    return {name: list(one) for name, one in values.items()}
