"""Seconds that the paper's own network takes: what every claim of speed is held against."""

import time

import torch

from diffad_export.config import PRESETS
from diffad_export.networks.paper import PaperTeacher
from diffad_export.reconstructor import levels_of

FEATURES = 272  # of EfficientNet-B4 at strides 2, 4, 8, 16


@torch.no_grad()
def paper_seconds(size: int = 256) -> list[float]:
    """Of one evaluation at each of the paper's three levels, batch 1, float32, random weights: time is not theirs.

    Args:
        size: S.
    """
    preset = PRESETS["paper"]
    network = PaperTeacher(FEATURES, preset.teacher.widths, preset.teacher.blocks).eval()
    found = []
    for level in levels_of(preset.score.chain_steps):
        x = torch.zeros(1, 3, size, size)
        start = time.perf_counter()
        network(x, torch.tensor([level.timestep]))
        found.append(time.perf_counter() - start)
    return found
