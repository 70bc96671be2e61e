"""The candidates of a search: steps x width x precision.

Knows names and limits. Does not know speed or accuracy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from diffad_export.config import DistilConfig
from diffad_export.widths import WIDTHS
from diffad_runtime.errors import InputError

STEPS = (1, 2, 4)
PRECISIONS = ("fp32", "int8")
"""Those that a processor runs well enough to be timed; a bundle may hold others beside the one that won."""
SMALLEST_FRAME, LARGEST_FRAME = 1, 16384


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """What decides a student's capacity: network evaluations but for draws, and width."""

    steps: int
    width: int

    def __str__(self) -> str:
        return f"{self.steps} step{'s' if self.steps > 1 else ''} x width {self.width}"

    def within(self, other: "Shape") -> bool:
        """Whether `other` has at least as many steps and channels."""
        return self.steps <= other.steps and self.width <= other.width


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A student in one precision."""

    shape: Shape
    precision: str

    def __str__(self) -> str:
        return f"{self.shape}, {self.precision}"


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What is searched.

    Attributes:
        budget_ms: for the median of one frame, in milliseconds.
        steps, widths, precisions: to choose from.
        frame_size: (H, W) of the frames that are timed; None: the input size, so that nothing is resized.
        rounds: frames for each candidate; those near the budget are timed four times as long.

    Raises:
        InputError: nothing to choose from, something unknown, or no budget that time could keep.
    """

    budget_ms: float
    steps: Sequence[int] = STEPS
    widths: Sequence[int] = tuple(WIDTHS)
    precisions: Sequence[str] = PRECISIONS
    frame_size: tuple[int, int] | None = None
    rounds: int = 40

    def __post_init__(self) -> None:
        if not (math.isfinite(self.budget_ms) and self.budget_ms > 0):
            raise InputError(f"a budget of {self.budget_ms} ms cannot be kept", mend="Give milliseconds above 0")
        if self.frame_size and not all(SMALLEST_FRAME <= side <= LARGEST_FRAME for side in self.frame_size):
            raise InputError(f"no frames of {self.frame_size[1]} x {self.frame_size[0]}", mend="Give 1 to 16384 a side")
        for name, given, known in (
            ("steps", self.steps, STEPS),
            ("widths", self.widths, tuple(WIDTHS)),
            ("precisions", self.precisions, PRECISIONS),
        ):
            if not given:
                raise InputError(f"no {name} to choose from", mend=f"Name at least one of {_listed(known)}")
            for one in given:
                if one not in known:
                    raise InputError(f"{one!r} is not one of the {name}", mend=f"Choose from: {_listed(known)}")

    def candidates(self) -> list[Candidate]:
        """All of them, each once."""
        shapes = [Shape(*pair) for pair in product(sorted(set(self.steps)), sorted(set(self.widths)))]
        return [Candidate(shape, name) for shape in shapes for name in PRECISIONS if name in self.precisions]


def config_of(base: DistilConfig, shape: Shape, levels: tuple[int, ...] | None) -> DistilConfig:
    """The distillation of a shape, all else as in `base`.

    Args:
        levels: steps of the 250-step chain; None: still to be chosen.
    """
    changes = {"steps": shape.steps, "width": shape.width, "chain_steps": levels}
    return DistilConfig.model_validate(base.model_dump() | changes)


def _listed(known: Sequence[object]) -> str:
    return ", ".join(map(str, known))
