"""From a configuration to a teacher with seeded initial weights."""

import torch

from diffad_export.config import TrainConfig
from diffad_export.denoiser import Denoiser
from diffad_export.networks.paper import PaperTeacher
from diffad_export.networks.teacher import Teacher


def make_teacher(config: TrainConfig, channels: int, categories: int = 1) -> Denoiser:
    """The teacher of `config` for `channels` features; the global random state is left as it was.

    Args:
        categories: how many there are; with several, and `teacher.conditional`, the network can be told which.

    Raises:
        InputError: widths that the network cannot have.
    """
    teacher = config.teacher
    classes = categories if teacher.conditional and categories > 1 else 0
    grid_stride = config.features.grid_stride
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if teacher.network == "compact":
            return Teacher(channels, teacher.widths, teacher.blocks, teacher.prediction, grid_stride, classes)
        return PaperTeacher(
            channels,
            teacher.widths,
            teacher.blocks,
            grid_stride,
            classes,
            checkpointing=teacher.checkpointing,
        )
