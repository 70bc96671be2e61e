"""Who is measured: a bundle's variants and the published references on the same backbone.

One signature: images in, maps and image scores out. A contestant from another room (the torch teacher) only has to wear
it. Knows no test folder and no metric.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffad_calibration.references import PaDiM, PatchCore
from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.base import Engine
from diffad_runtime.engines.select import open_engine
from diffad_runtime.errors import InputError
from diffad_runtime.result import FloatMap, Image
from diffad_runtime.scoring import image_score

REFERENCES = ("padim", "patchcore")
BATCH = 8

Progress = Callable[[str, int, int], None]


def silent(_what: str, _done: int, _total: int) -> None:
    """No progress."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One model to be measured.

    Attributes:
        name: as in tables.
        maps: uint8 (N, S, S, 3) -> float32 (N, S, S); called with parts of the test set.
        score: one map -> image score.
        note: a few words for the table.
        threshold: image threshold where the model has one, else None.
    """

    name: str
    maps: Callable[[Image], FloatMap]
    score: Callable[[FloatMap], float]
    note: str = ""
    threshold: float | None = None


class BundleContestant:
    """A bundle's variant; also gives the parts of a map, for pictures. Close it after use."""

    def __init__(self, bundle: Bundle, variant: str, *, backend: str = "auto", threads: int | None = None) -> None:
        self.bundle, self.variant = bundle, variant
        self.engine: Engine = open_engine(bundle, backend, variant, threads)

    def contestant(self) -> Contestant:
        """Wear the common signature."""
        manifest = self.bundle.manifest
        return Contestant(
            name=f"student {self.variant}",
            maps=lambda images: np.stack([self.engine.infer(image).anomaly for image in images]),
            score=lambda one: image_score(one, manifest.image_score),
            note=f"{manifest.reconstruction.steps} evaluation, {self.engine.backend}",
            threshold=manifest.thresholds.image,
        )

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()


def reference_contestants(
    names: Sequence[str], bundle: Bundle, good: Image, progress: Progress = silent
) -> list[Contestant]:
    """Fit references on good images, on the features of the bundle's own FP32 extractor.

    Args:
        names: of REFERENCES.
        good: uint8 (N, S, S, 3), all good training images.

    Raises:
        InputError: an unknown name.
    """
    for name in names:
        if name not in REFERENCES:
            raise InputError(f"unknown reference {name!r}", mend=f"Choose from: {', '.join(REFERENCES)}")
    if not names:
        return []
    features = _feature_function(bundle)
    size, backbone = bundle.manifest.input_size, bundle.manifest.backbone

    def batches(what: str) -> Iterator[npt.NDArray[np.float32]]:
        for start in range(0, len(good), BATCH):
            yield features(good[start : start + BATCH])
            progress(what, min(start + BATCH, len(good)), len(good))

    made: list[Contestant] = []
    note = f"{backbone.name}, {len(good)} good images"
    if "padim" in names:
        padim = PaDiM.fit(batches("Fitting PaDiM"), input_size=size)
        made.append(Contestant("PaDiM", lambda images: padim.maps(features(images)), _maximum, note))
    if "patchcore" in names:
        core = PatchCore.fit(
            batches("Fitting PatchCore"), input_size=size, strides=backbone.strides, channels=backbone.channels
        )
        made.append(Contestant("PatchCore", lambda images: core.maps(features(images)), _maximum, note))
    return made


def _maximum(one: FloatMap) -> float:
    return float(one.max())


def _feature_function(bundle: Bundle) -> Callable[[Image], npt.NDArray[np.float32]]:
    import onnxruntime  # noqa: PLC0415  only references need the features themselves

    extractor, _ = bundle.graphs("fp32")
    session = onnxruntime.InferenceSession(extractor, providers=["CPUExecutionProvider"])

    def features(images: Image) -> npt.NDArray[np.float32]:
        return np.concatenate([session.run(["f"], {"image": image[None]})[0] for image in images])

    return features
