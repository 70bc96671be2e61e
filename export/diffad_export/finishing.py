"""The quantisation-aware finish of an INT8 variant: its graphs made anew from weights that were tuned to round well.

Knows graphs and the training. Does not know gates: whoever asks decides when, and judges what comes of it.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from diffad_calibration.precision.int8ranges import int8_ranges
from diffad_calibration.precision.variants import Graphs, Made
from diffad_export.backbone import Extractor
from diffad_export.config import OptimiserConfig
from diffad_export.reconstructor import Reconstructor
from diffad_export.training.qat import FINISH, finish
from diffad_export.variants import build_graphs
from diffad_runtime.parity import FrameOutcome, compare
from diffad_runtime.result import Image

Finish = Literal["auto", "on", "off"]
"""When: where a gate refuses INT8, always, never."""


def finish_int8(
    extractor: Extractor,
    model: Reconstructor,
    before: Graphs,
    train: Image,
    calibration: Image,
    folder: Path,
    device: torch.device,
    *,
    seed: int,
    config: OptimiserConfig = FINISH,
) -> tuple[Made, dict[str, Any]]:
    """Tune from where the INT8 graphs stand, and quantise again; FP32 graphs are not touched.

    Args:
        model: with a folded student, fitted.
        before: the INT8 graphs of both.
        train: good training images, uint8 (N, S, S, 3).
        calibration: what INT8 ranges are measured on, uint8 (N, S, S, 3).
        folder: of the student; a finish that was interrupted goes on from there, one that is done is not made again.

    Returns:
        The INT8 variant, and steps, seconds, first and last loss.

    Raises:
        GateError: a convolution of the student stayed float.
    """
    named = hashlib.sha256(before.extractor + before.reconstructor + f"{seed} {config.model_dump_json()}".encode())
    own = folder / f"finish-{named.hexdigest()[:12]}"
    own.mkdir(parents=True, exist_ok=True)
    ranges = int8_ranges(before.extractor), int8_ranges(before.reconstructor)
    done = finish(extractor, model, ranges, train, config, own, seed, device, resume=True)
    outcome = done.outcome
    # Networks that were tuned while they rounded have their means right as they are.
    built = build_graphs(done.extractor, done.model, ["int8"], calibration, correct_bias=False)
    made = Made(built.graphs["int8"], built.records["int8"].model_copy(update={"tuned": True}))
    losses = [loss for _, loss in outcome.losses]
    return made, {
        "steps": outcome.step,
        "seconds": round(outcome.seconds, 1),
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def figures(reference: Sequence[FrameOutcome], found: Sequence[FrameOutcome]) -> dict[str, float]:
    """What provenance keeps of a comparison, in the units of `compare`."""
    parity = compare(reference, found)
    return {
        "map_mean": parity.map_mean,
        "map_max": parity.map_max,
        "score_max": parity.score_max,
        "flips": parity.flips,
    }
