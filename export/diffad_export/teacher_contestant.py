"""The torch teacher as a contestant: for `eval --teacher` and, timed call by call, for `bench --teacher`."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch

from diffad_calibration.evaluation import Contestant
from diffad_export.backbone.extractor import normalise
from diffad_export.config import ScoreConfig
from diffad_export.runfolder import open_run
from diffad_export.variants import torch_maps
from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import InputError
from diffad_runtime.geometry import to_input
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score


def teacher_contestant(run_folder: Path, bundle: Bundle) -> Contestant:
    """The teacher of a run, at its own levels, with its own statistics and fusion weight, in float32.

    Raises:
        InputError: no run there, or one of another input size than the bundle.
    """
    run = open_run(run_folder)
    _same_size(run.config.size, bundle)
    model, extractor = run.teacher_reconstructor(ScoreConfig()), run.extractor()
    return Contestant(
        name="teacher",
        maps=lambda images: torch_maps(extractor, model, images),
        score=lambda one: image_score(one, bundle.manifest.image_score),
        note=f"{len(model.levels)} evaluations, torch fp32",
    )


def teacher_timing(run_folder: Path, bundle: Bundle) -> dict[str, Callable[[Image], dict[str, float]]]:
    """For an interleaved benchmark: name -> function of a frame (H, W, 3) that gives milliseconds per stage.

    "reconstruct" is the teacher's network calls with their score, one call per level.
    """
    run = open_run(run_folder)
    _same_size(run.config.size, bundle)
    model, extractor = run.teacher_reconstructor(ScoreConfig()), run.extractor()

    @torch.no_grad()
    def judge(frame: Image) -> dict[str, float]:
        marks = [time.perf_counter()]
        x = normalise(torch.from_numpy(to_input(frame, run.config.size)[None]))
        marks.append(time.perf_counter())
        f = extractor.features(x)
        marks.append(time.perf_counter())
        model(x, f)
        marks.append(time.perf_counter())
        resize, extract, reconstruct = (1e3 * (b - a) for a, b in pairwise(marks))
        total = resize + extract + reconstruct
        return {"resize": resize, "extract": extract, "reconstruct": reconstruct, "total": total}

    return {f"teacher, {len(model.levels)} calls, torch": judge}


def _same_size(size: int, bundle: Bundle) -> None:
    if size != bundle.manifest.input_size:
        raise InputError(
            f"the teacher was trained at {size} px, the bundle works at {bundle.manifest.input_size} px",
            mend="Give the run folder that the bundle was exported from",
        )
