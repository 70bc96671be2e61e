"""Progressive halving: a student of n levels learns in one step what the network before it does in two.

After Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (ICLR 2022): from a teacher's
DDIM chain of K * 2^r steps, r times halved, down to K. The textbook comparison to a direct regression of the teacher's
answers. Their target for x0 is kept; the features, which no chain carries along, are those that the second of the two
steps predicts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffad_export.denoiser import Denoised, Denoiser, from_blocks, to_blocks
from diffad_export.diffusion.posterior import Level
from diffad_export.grids import FromOneGrid, Grids
from diffad_export.networks.student import Student

Answer = Callable[[Tensor, Tensor], tuple[Tensor, Grids]]
"""x_t (B, 3, S, S), number of each image's level (B,) -> x0 in blocks (B, 48, G, G), features of each grid."""


def chain_levels(steps: int, last: int) -> tuple[int, ...]:
    """`steps` of the 250-step chain, evenly spaced, ending at `last`; halving them keeps every second one."""
    return tuple(round((last + 1) * (i + 1) / steps) - 1 for i in range(steps))


def teacher_answer(teacher: Denoiser, levels: tuple[Level, ...], to_layout: FromOneGrid, label: int | None) -> Answer:
    """The teacher at given levels, its features brought to the student's grids."""
    timesteps = torch.tensor([level.timestep for level in levels])

    @torch.no_grad()
    def answer(x_t: Tensor, level: Tensor) -> tuple[Tensor, Grids]:
        t = timesteps[level].to(x_t.device)
        denoised = teacher(x_t, t, None if label is None else torch.full_like(t, label))
        return denoised.x0, to_layout(denoised.f[0])

    return answer


def student_answer(student: Student) -> Answer:
    """A student at its own levels."""

    @torch.no_grad()
    def answer(x_t: Tensor, level: Tensor) -> tuple[Tensor, Grids]:
        denoised: Denoised = student(x_t, level.to(x_t.device))
        return denoised.x0, denoised.f

    return answer


@dataclass(frozen=True, slots=True)
class TwoSteps:
    """What one step of half as many levels should answer.

    Attributes:
        before: of 2n levels.
        levels: those 2n, cleanest first; level i of the student stands where 2i + 1 of them does.
    """

    before: Answer
    levels: tuple[Level, ...]

    @torch.no_grad()
    def __call__(self, x_t: Tensor, level: Tensor) -> tuple[Tensor, Grids]:
        """Two DDIM steps down from x_t; then the x0 from which one step would have led there (their appendix G)."""
        start, middle = 2 * level + 1, 2 * level
        x0, _ = self.before(x_t, start)
        x_middle = self._step(x_t, from_blocks(x0), start, middle)
        x0, features = self.before(x_middle, middle)
        x_end = self._step(x_middle, from_blocks(x0), middle, middle - 1)
        signal, noise = self._scale(start, x_t)
        signal_end, noise_end = self._scale(middle - 1, x_t)
        ratio = noise_end / noise
        return to_blocks((x_end - ratio * x_t) / (signal_end - ratio * signal)), features

    def _step(self, x_t: Tensor, x0: Tensor, at: Tensor, to: Tensor) -> Tensor:
        signal, noise = self._scale(at, x_t)
        signal_to, noise_to = self._scale(to, x_t)
        return signal_to * x0 + noise_to * (x_t - signal * x0) / noise

    def _scale(self, at: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar) and sqrt(1 - abar) of level numbers, -1 being the clean image; (B, 1, 1, 1) each."""
        signal = torch.tensor([1.0, *(level.signal for level in self.levels)])[at + 1]
        noise = torch.tensor([0.0, *(level.noise for level in self.levels)])[at + 1]
        return signal.to(like.device).view(-1, 1, 1, 1), noise.to(like.device).view(-1, 1, 1, 1)


def inherit(student: Student, before: Student) -> None:
    """Start a student where the one of twice as many levels ended, in place."""
    student.trunks[0].load_state_dict(before.trunks[0].state_dict())
    if student.shift is not None and before.shift is not None:
        with torch.no_grad():
            student.shift.copy_(before.shift[1::2])


def rounds(steps: int, halvings: int) -> list[int]:
    """Levels of the student of each round: 4 steps, halved twice before, gives [8, 4] from a chain of 16."""
    if halvings < 1:
        raise ValueError(f"expected at least one halving, got {halvings}")
    return [steps * 2 ** (halvings - 1 - i) for i in range(halvings)]


def chain_length(steps: int, halvings: int) -> int:
    """Evaluations of the teacher's chain that is halved."""
    return steps * int(math.pow(2, halvings))
