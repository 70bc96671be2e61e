"""Graphs of students that nobody trained: a network's speed does not depend on what it learned.

Random weights, and BatchNorm as if it had lived: where all biases are equal, ONNX Runtime leaves out fusions that it
makes of trained graphs. Knows how such a student is made. Does not time it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from diffad_calibration.precision.variants import Graphs
from diffad_export.backbone import Extractor
from diffad_export.config import DistilConfig, ScoreConfig
from diffad_export.levelchoice import CANDIDATES
from diffad_export.networks.cost import network_cost
from diffad_export.networks.student import Student
from diffad_export.runfolder import Run
from diffad_export.search.candidates import Shape, config_of
from diffad_export.student_model import student_reconstructor
from diffad_export.variants import build_graphs
from diffad_runtime.result import Image

RANGES_FROM = 4
"""Images that INT8 ranges are taken from: they have no part in how long anything takes."""
SEED = 1


def blank_graphs(
    run: Run, extractor: Extractor, shape: Shape, score: ScoreConfig, names: Sequence[str], images: Image
) -> dict[str, Graphs]:
    """Graphs in the precisions `names`, of a student of that shape.

    Args:
        extractor: with the student's layout.
        images: uint8 (N, S, S, 3).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        student = Student(extractor.layout, shape.width, shape.steps)
        _live(student)
        model = student_reconstructor(run, student.eval(), extractor, _somewhere(shape), score)
        # Numbers of 0 and 1 would be optimised away. A weight still to be chosen may turn out to need the pixel branch.
        fitted = model.fitted
        model.refit(
            replace(
                fitted,
                feature_mean=torch.randn_like(fitted.feature_mean),
                feature_std=torch.rand_like(fitted.feature_std) + 0.5,
                alpha=0.5 if score.alpha is None else score.alpha,
            )
        )
    return build_graphs(extractor, model, list(names), images[:RANGES_FROM], correct_bias=False).graphs


def gmacs_of(extractor: Extractor, shape: Shape, size: int, draws: int) -> float:
    """1e9 multiply-adds of all evaluations of a student."""
    student = Student(extractor.layout, shape.width)
    return network_cost(student, size).gmacs * shape.steps * draws


def _somewhere(shape: Shape) -> DistilConfig:
    return config_of(DistilConfig(), shape, CANDIDATES[: shape.steps])


@torch.no_grad()
def _live(student: Student) -> None:
    for module in student.modules():
        if isinstance(module, nn.BatchNorm2d):
            cast(Tensor, module.running_mean).normal_(0, 0.5)
            cast(Tensor, module.running_var).uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.2)
