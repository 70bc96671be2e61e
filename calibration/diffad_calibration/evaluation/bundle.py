"""A bundle measured whole: all its variants, its references, and invited contestants; a report where asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffad_calibration.dataset import open_dataset
from diffad_calibration.evaluation.contestants import (
    BundleContestant,
    Contestant,
    Progress,
    reference_contestants,
    silent,
)
from diffad_calibration.evaluation.publish import publish
from diffad_calibration.evaluation.runner import Evaluation, evaluate
from diffad_calibration.loading import load_images
from diffad_runtime.bundle import Bundle


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """What is asked for.

    Attributes:
        data: MVTec-AD layout with test images.
        references: names of published detectors to fit on the good training images.
        backend, threads: as `open_engine`.
        report: folder for the HTML report, or None.
    """

    data: Path
    references: tuple[str, ...] = ()
    backend: str = "auto"
    threads: int | None = None
    report: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EvalOutcome:
    """Figures, and the path of the report's index.html where one was written."""

    evaluation: Evaluation
    report: Path | None


def evaluate_bundle(
    bundle: Bundle, request: EvalRequest, extra: Sequence[Contestant] = (), progress: Progress = silent
) -> EvalOutcome:
    """Measure every variant that the backend can run, the default one first.

    Raises:
        DataError: no test images, or files that cannot be read.
        InputError: an unknown reference or backend.
    """
    dataset, manifest = open_dataset(request.data), bundle.manifest
    runnable = [name for name, variant in manifest.variants.items() if variant.target != "tensorrt"]
    first = manifest.default_variant
    runnable.sort(key=lambda name: name != first)
    students = [BundleContestant(bundle, n, backend=request.backend, threads=request.threads) for n in runnable]
    try:
        contestants = [student.contestant() for student in students] + list(extra)
        if request.references:
            good = load_images(dataset.train_good, manifest.input_size).array
            contestants += reference_contestants(request.references, bundle, good, progress)
        evaluation = evaluate(dataset, contestants, manifest.input_size, first=contestants[0].name, progress=progress)
        report = None
        if request.report:
            report = publish(
                request.report,
                evaluation,
                students[0],
                title=f"Evaluation of {manifest.model_id}",
                subtitle="Trained, fitted and thresholded on good parts only.",
                facts=[("Data", dataset.name)],
            )
    finally:
        for student in students:
            student.close()
    return EvalOutcome(evaluation, report)
