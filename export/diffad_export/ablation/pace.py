"""How long the rest of a study will take, from how long its parts took.

Knows minutes and configurations. Does not know folders.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from diffad_export.config import DistilConfig, TrainConfig


@dataclass(slots=True)
class Pace:
    """What was measured, in this sitting and before; minutes."""

    trainings: list[tuple[TrainConfig, float]] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    students: list[tuple[DistilConfig, float]] = field(default_factory=list)

    def left(
        self, trainings: Iterable[TrainConfig], evaluations: int, students: Iterable[DistilConfig] = ()
    ) -> float | None:
        """Minutes for what is to come; None where nothing like it was measured yet.

        A training takes what one of the same size, network and limits took, else its own limit, else the mean of all.
        """
        total = 0.0
        for expected in [*map(self._training, trainings), *map(self._student, students)]:
            if expected is None:
                return None
            total += expected
        if not self.evaluations:
            # One is over in a fraction of its training; without it the rest would stay unknown for the longest time.
            return total or None
        return total + evaluations * fmean(self.evaluations)

    def _training(self, config: TrainConfig) -> float | None:
        alike = [minutes for other, minutes in self.trainings if _limits(other) == _limits(config)]
        if alike:
            return fmean(alike)
        if config.optimiser.max_minutes is not None:
            return config.optimiser.max_minutes
        return fmean(minutes for _, minutes in self.trainings) if self.trainings else None

    def _student(self, config: DistilConfig) -> float | None:
        alike = [minutes for other, minutes in self.students if _work(other) == _work(config)]
        if alike:
            return fmean(alike)
        if config.optimiser.max_minutes is not None:
            return config.optimiser.max_minutes
        return fmean(minutes for _, minutes in self.students) if self.students else None


def _work(config: DistilConfig) -> tuple[object, ...]:
    return config.width, config.steps, config.losses, config.optimiser


def _limits(config: TrainConfig) -> tuple[object, ...]:
    return config.size, config.teacher, config.optimiser
