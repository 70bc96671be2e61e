"""The good images of a category in two parts: trained on, and held back for statistics and thresholds.

Knows arrays and names. Does not know run folders or networks.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from diffad_calibration.dataset import Dataset
from diffad_calibration.loading import load_images
from diffad_export.config import TrainConfig
from diffad_runtime.errors import DataError
from diffad_runtime.result import Image

LEAST_GOOD = 8


@dataclass(frozen=True, slots=True)
class Split:
    """One category's good images.

    Attributes:
        name: of the category.
        train, held: uint8 (N, S, S, 3) each; training sees only the first.
        held_names: of the files held back.
        digest: names all of them, by their pixels.
    """

    name: str
    train: Image
    held: Image
    held_names: list[str]
    digest: str

    @property
    def count(self) -> int:
        """Good images in all."""
        return len(self.train) + len(self.held)


def split_good(name: str, images: Image, names: list[str], config: TrainConfig) -> Split:
    """Split by a permutation seeded with the run's seed.

    Args:
        images: uint8 (N, S, S, 3); names: of their files.

    Raises:
        DataError: fewer than 8 good images.
    """
    count = len(images)
    if count < LEAST_GOOD:
        raise DataError(
            f"{count} good images of {name} are too few to train on, at least {LEAST_GOOD} are needed",
            mend="Add good images; a few hundred is usual",
        )
    held = min(max(4, round(config.holdback * count)), count // 2)
    order = np.random.default_rng(config.seed).permutation(count)
    back, front = np.sort(order[:held]), np.sort(order[held:])
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    return Split(name, images[front], images[back], [names[i] for i in back], digest)


def load_split(dataset: Dataset, config: TrainConfig) -> Split:
    """Read a category's good images at the network's size, and split them.

    Raises:
        DataError: files that cannot be read, or too few of them.
    """
    good = load_images(dataset.train_good, config.size)
    return split_good(dataset.name, good.array, good.names, config)
