"""What a teacher gives a student to learn: its averaged answers at each level, and its maps of pasted defects.

Knows tensors. Does not know how the teacher made them.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffad_export.grids import Grids
from diffad_export.training.halving import TwoSteps
from diffad_export.training.mapmatch import MapMatching
from diffad_export.training.targets import TeacherTargets


@dataclass(frozen=True, slots=True)
class Lessons:
    """Everything of the teacher that one distillation uses; empty for the control without a teacher.

    Attributes:
        targets: one for each level, or none.
        maps: None where the fused map is not matched.
        chain: where a chain is halved: the answers are then made on the way, and there are no targets.
    """

    targets: tuple[TeacherTargets, ...] = field(default=())
    maps: MapMatching | None = None
    chain: TwoSteps | None = None

    def answers(self, rows: npt.NDArray[np.int64], level: Tensor, device: torch.device) -> tuple[Tensor, Grids]:
        """Rows and the level of each -> x0 (B, 48, G, G), f (B, C_i, g_i, g_i) each."""
        if len(self.targets) == 1:
            return self.targets[0].batch(rows, device)
        order: list[Tensor] = []
        parts: list[tuple[Tensor, Grids]] = []
        for k, targets in enumerate(self.targets):
            own = torch.nonzero(level == k)[:, 0]
            order.append(own)
            parts.append(targets.batch(rows[own.numpy()], device))
        back = torch.argsort(torch.cat(order))
        x0 = torch.cat([part[0] for part in parts])[back]
        return x0, tuple(torch.cat(grid)[back] for grid in zip(*(part[1] for part in parts), strict=True))
