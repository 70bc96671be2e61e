"""A bundle as a line-up: its variants, those named or all that the backend runs, and invited contestants.

A variant made for TensorRT is measured on onnxruntime where it is named: the same graph, not the same kernels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation.contestants import (
    Contestant,
    Display,
    Parts,
    Progress,
    VariantFacts,
    nothing_to_close,
    silent,
)
from diffad_calibration.evaluation.lineup import EvalOutcome, EvalRequest, Lineup, evaluate_lineup
from diffad_calibration.evaluation.references import Features
from diffad_calibration.references.grid import on_finest_grid
from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.base import Engine
from diffad_runtime.engines.choice import choose, suited
from diffad_runtime.engines.select import open_engine
from diffad_runtime.errors import InputError
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score

__all__ = [
    "BundleContestant",
    "EvalOutcome",
    "EvalRequest",
    "Guest",
    "bundle_facts",
    "bundle_lineup",
    "evaluate_bundle",
]

Guest = Contestant | Callable[[Dataset], Contestant]
"""A contestant from outside, the same for all categories, or made for each."""

EXACT = "fp32"
"""The variant from whose verdicts those of the others are counted."""


class BundleContestant:
    """A bundle's variant. Close it after use: its engine serves all categories.

    Args:
        against: name of the variant, measured beside it, from whose verdicts its own are counted; None: of none.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: str,
        *,
        backend: str = "auto",
        threads: int | None = None,
        against: str | None = None,
    ) -> None:
        self.bundle, self.variant, self.against = bundle, variant, against
        self.engine: Engine = open_engine(bundle, backend, variant, threads, foreign=True)

    def contestant(self) -> Contestant:
        """Wear the common signature."""
        manifest = self.bundle.manifest
        facts = manifest.variants[self.variant]
        made_for = ", made for TensorRT" if facts.target == "tensorrt" and self.engine.backend != "tensorrt" else ""
        size = sum(manifest.members[graph].size for graph in (facts.extractor, facts.reconstructor))
        return Contestant(
            name=_student(self.variant),
            maps=lambda images: np.stack([self.engine.infer(image).anomaly for image in images]),
            score=lambda one: image_score(one, manifest.image_score),
            note=f"{manifest.reconstruction.steps} evaluation, {self.engine.backend}{made_for}",
            threshold=manifest.thresholds.image,
            display=Display(self._parts, manifest.thresholds.pixel, manifest.min_defect_pixels),
            variant=VariantFacts(size / 1e6, _student(self.against) if self.against else None),
        )

    def _parts(self, image: Image) -> Parts:
        raw = self.engine.infer(image)
        return Parts(raw.pixel, raw.feature, raw.anomaly)

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()


def bundle_facts(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    """What a report says about a bundle: label, value."""
    manifest, method = bundle.manifest, bundle.manifest.reconstruction
    return (
        ("Model", f"{manifest.model_id}, version {manifest.version}"),
        ("Bundle digest", bundle.digest[:16]),
        ("Fusion", f"{method.alpha:g} pixel KL + {1 - method.alpha:g} features"),
        ("Noise level", ", ".join(f"t = {t}" for t in method.levels)),
    )


def bundle_lineup(
    bundle: Bundle,
    extra: Sequence[Guest] = (),
    *,
    backend: str = "auto",
    threads: int | None = None,
    variants: Sequence[str] = (),
) -> Lineup:
    """A bundle's variants, then the guests, who stay whoever opened them to close.

    Args:
        variants: in this order; none named: all that the backend runs, the default one first.

    Raises:
        EngineError: a variant cannot be opened.
        InputError: an unknown backend or variant, or one named twice.
    """
    manifest = bundle.manifest
    if not variants:
        backend = choose(bundle, backend).backend
    names = list(variants) or sorted(suited(bundle, backend), key=lambda name: name != manifest.default_variant)
    if len(set(names)) != len(names):
        raise InputError(f"expected different variants, got {', '.join(names)}", mend="Name each once")
    against = EXACT if EXACT in names else None
    students: list[BundleContestant] = []

    def close() -> None:
        for student in students:
            student.close()

    def contestants(dataset: Dataset) -> list[Contestant]:
        return [student.contestant() for student in students] + [_invited(guest, dataset) for guest in extra]

    try:
        for name in names:
            students.append(BundleContestant(bundle, name, backend=backend, threads=threads, against=against))
    except BaseException:
        close()
        raise
    return Lineup(
        title=f"Evaluation of {manifest.model_id}",
        size=manifest.input_size,
        contestants=contestants,
        features=_features(bundle),
        backbone=manifest.backbone,
        facts=bundle_facts(bundle),
        close=close,
    )


def evaluate_bundle(
    bundle: Bundle, request: EvalRequest, extra: Sequence[Guest] = (), progress: Progress = silent
) -> EvalOutcome:
    """Measure the variants asked for on every category.

    Raises:
        DataError: no test images, or files that cannot be read.
        InputError: an unknown reference, variant or backend.
    """
    lineup = bundle_lineup(bundle, extra, backend=request.backend, threads=request.threads, variants=request.variants)
    return evaluate_lineup(lineup, request, progress)


def _student(variant: str) -> str:
    return f"student {variant}"


def _invited(guest: Guest, dataset: Dataset) -> Contestant:
    if isinstance(guest, Contestant):
        return replace(guest, close=nothing_to_close)  # it serves all categories
    return guest(dataset)


def _features(bundle: Bundle) -> Features:
    """The FP32 extractor's features, on one grid. Its session is opened when the first are asked for."""

    @cache
    def session() -> Any:
        import onnxruntime  # noqa: PLC0415  only references need the features themselves

        extractor, _ = bundle.graphs("fp32")
        return onnxruntime.InferenceSession(extractor, providers=["CPUExecutionProvider"])

    def features(images: Image) -> npt.NDArray[np.float32]:
        names = [node.name for node in session().get_outputs() if node.name != "x"]
        return np.concatenate([on_finest_grid(session().run(names, {"image": image[None]})) for image in images])

    return features
