"""The published references as contestants, fitted on the good images of one category.

Knows how they are fitted and named. Does not know whose features they are given: a bundle's extractor or a torch one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from diffad_calibration.evaluation.contestants import Contestant, Progress, silent
from diffad_calibration.evaluation.images import ImageBatches
from diffad_calibration.references import PaDiM, PatchCore
from diffad_runtime.errors import InputError
from diffad_runtime.result import FloatMap, Image

REFERENCES = ("padim", "patchcore")

Features = Callable[[Image], npt.NDArray[np.float32]]
"""uint8 (N, S, S, 3) -> float32 (N, C, G, G)."""


class BackboneFacts(Protocol):
    """What the references must know of the network behind the features; the manifest's Backbone has it."""

    @property
    def name(self) -> str:
        """For the table."""

    @property
    def strides(self) -> Sequence[int]:
        """Of its stages, in the order of the features' channels."""

    @property
    def channels(self) -> Sequence[int]:
        """Of each stage."""


def check_references(names: Sequence[str]) -> None:
    """Whether all are known.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if name not in REFERENCES:
            raise InputError(f"unknown reference {name!r}", mend=f"Choose from: {', '.join(REFERENCES)}")


def reference_contestants(
    names: Sequence[str],
    features: Features,
    backbone: BackboneFacts,
    size: int,
    good: ImageBatches,
    progress: Progress = silent,
) -> list[Contestant]:
    """Fit references on good images.

    Args:
        names: of REFERENCES.
        features: the frozen features that they work on.
        backbone: where these come from.
        size: S, pixels.
        good: all good training images; gone through once a reference.

    Raises:
        InputError: an unknown name.
        DataError: too few images, or files that cannot be read.
    """
    check_references(names)

    def batches(what: str) -> Iterator[npt.NDArray[np.float32]]:
        done = 0
        for images in good:
            yield features(images)
            done += len(images)
            progress(what, done, len(good))

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
