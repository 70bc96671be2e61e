"""A line-up measured whole: every category under a data folder, published references beside it, a report where asked.

A Lineup is all that a bundle, or a teacher from another room, has to bring. Knows neither of the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffad_calibration.dataset import Dataset, open_datasets
from diffad_calibration.evaluation.contestants import Contestant, Progress, nothing_to_close, silent
from diffad_calibration.evaluation.examples import PictureCounts
from diffad_calibration.evaluation.images import ImageBatches
from diffad_calibration.evaluation.publish import publish
from diffad_calibration.evaluation.references import BackboneFacts, Features, check_references, reference_contestants
from diffad_calibration.evaluation.results import Evaluation
from diffad_calibration.evaluation.runner import evaluate
from diffad_calibration.metrics import Bootstrap
from diffad_runtime.errors import InputError

MANY = 4
"""Categories from which on a report shows fewer pictures of each."""


@dataclass(frozen=True, slots=True, eq=False)
class Lineup:
    """Who is measured, and what the report says about it.

    Attributes:
        title: of the report, as in "Evaluation of tile-256".
        size: S, pixels: input, map and mask resolution.
        contestants: makes a category's contestants, with its thresholds and statistics. The first is the one that
            matters: its figures come first, its answers are shown in pictures. Same names in every category.
        features, backbone: for references fitted on the same features; None where there are none to be had.
        facts: (label, value) for the report.
        close: frees what all categories shared; each contestant's own `close` was called before.
    """

    title: str
    size: int
    contestants: Callable[[Dataset], Sequence[Contestant]]
    features: Features | None = None
    backbone: BackboneFacts | None = None
    facts: tuple[tuple[str, str], ...] = ()
    close: Callable[[], None] = nothing_to_close


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """What is asked for.

    Attributes:
        data: MVTec-AD layout with test images: one category, or a folder of several.
        references: names of published detectors to fit on each category's good training images.
        backend, threads: as `open_engine`; for bundles.
        variants: of a bundle, the one that matters first; (): all that the backend runs, the default one first.
        report: folder for the HTML report, or None.
        pictures: keep pictures for a report that is published later; a report asked for here has them anyway.
        bootstrap: for confidence intervals, None for none.
    """

    data: Path
    references: tuple[str, ...] = ()
    backend: str = "auto"
    threads: int | None = None
    variants: tuple[str, ...] = ()
    report: Path | None = None
    pictures: bool = False
    bootstrap: Bootstrap | None = field(default_factory=Bootstrap)


@dataclass(frozen=True, slots=True, eq=False)
class EvalOutcome:
    """Figures, and the path of the report's index.html where one was written."""

    evaluation: Evaluation
    report: Path | None


Explain = Callable[[Sequence[Dataset], Evaluation], Any]
"""Categories and what was found on them -> what the report's template explained.html.j2 shows, or None."""


def evaluate_lineup(
    lineup: Lineup, request: EvalRequest, progress: Progress = silent, *, explain: Explain | None = None
) -> EvalOutcome:
    """Measure a line-up on every category; closes it.

    Args:
        explain: asked, before the line-up is closed, for a report's section of its own.

    Raises:
        DataError: no test images, or files that cannot be read.
        InputError: an unknown reference, or references where the line-up has no features for them.
    """
    try:
        check_references(request.references)
        datasets = open_datasets(request.data)

        def everybody(dataset: Dataset) -> list[Contestant]:
            own = list(lineup.contestants(dataset))
            try:
                return own + _references(lineup, request.references, dataset, progress)
            except BaseException:
                for contestant in own:
                    contestant.close()
                raise

        counts = PictureCounts() if len(datasets) < MANY else PictureCounts(typical=4, worst=3)
        evaluation = evaluate(
            datasets,
            everybody,
            lineup.size,
            bootstrap=request.bootstrap,
            pictures=counts if request.pictures or request.report else None,
            progress=progress,
        )
        explained = explain(datasets, evaluation) if explain and request.report else None
    finally:
        lineup.close()
    report = None
    if request.report:
        report = publish(
            request.report,
            evaluation,
            title=lineup.title,
            subtitle="Trained, fitted and thresholded on good parts only.",
            facts=[*lineup.facts, ("Data", request.data.absolute().name)],
            explained=explained,
        )
    return EvalOutcome(evaluation, report)


def _references(lineup: Lineup, names: Sequence[str], dataset: Dataset, progress: Progress) -> list[Contestant]:
    if not names:
        return []
    if lineup.features is None or lineup.backbone is None:
        raise InputError(
            f"references need features, and {lineup.title!r} has none to give", mend="Leave out --references"
        )
    good = ImageBatches(dataset.train_good, lineup.size)

    def named(what: str, done: int, total: int) -> None:
        progress(f"{what} on {dataset.name}", done, total)

    return reference_contestants(names, lineup.features, lineup.backbone, lineup.size, good, named)
