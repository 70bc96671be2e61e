"""`demo`: the whole way on the built-in synthetic line, sized for two cores and a few minutes.

    DIR/line/            the line's pictures in MVTec-AD layout
    DIR/run/             teacher
    DIR/model.diffad     the bundle
    DIR/masks/, DIR/overlay/, DIR/results.jsonl    what `run` left
    DIR/report/index.html

Everything goes through the same functions as the commands; only the settings are small.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffad_calibration.evaluation import (
    REFERENCES,
    EvalRequest,
    Evaluation,
    bundle_facts,
    evaluate_bundle,
    publish,
)
from diffad_calibration.precision.variants import FORMS
from diffad_calibration.report.data import TimingRow
from diffad_export.checkpoint import read_json, write_json
from diffad_export.config import (
    AugmentConfig,
    DistilConfig,
    OptimiserConfig,
    TeacherConfig,
    ThresholdConfig,
    TrainConfig,
)
from diffad_export.exportoptions import ExportOptions
from diffad_export.provenance import processor
from diffad_export.recipe import ExportSummary, export
from diffad_export.teacher_contestant import teacher_contestant, teacher_timing
from diffad_export.train import train
from diffad_runtime.bench import BenchReport, bench
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.pipeline import run_stream
from diffad_runtime.sinks import JsonlSink, MaskSink, open_overlay
from diffad_runtime.sources import open_source
from diffad_runtime.synthetic import LineConfig, write_mvtec
from diffad_runtime.tally import RunSummary

MARKER = "demo.json"
SHOWN = ("fp32", "int8")
"""Variants that are timed: the others are made for other machines."""


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """How large the demo is. Minutes are upper limits of the two trainings."""

    size: int = 128
    frame_size: int = 256
    train_good: int = 160
    test_good: int = 30
    test_per_kind: int = 10
    teacher_minutes: float = 2.5
    student_minutes: float = 1.2
    stream_frames: int = 60
    bench_rounds: int = 30
    teacher_steps: int = 100_000
    student_steps: int = 100_000
    batch: int = 8
    max_aupro_drop: float = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class DemoSummary:
    """What the demo made."""

    out: Path
    bundle: Path
    report: Path
    export: ExportSummary
    stream: RunSummary
    evaluation: Evaluation
    timing: BenchReport

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "out": str(self.out),
            "bundle": str(self.bundle),
            "report": str(self.report),
            "masks": self.stream.frames,
            "ng": self.stream.ng,
            "eval": self.evaluation.to_json(),
            "bench": self.timing.to_json(),
        }


def demo(
    out: Path,
    *,
    seed: int = 0,
    settings: DemoSettings | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> DemoSummary:
    """Make everything new under `out`; a folder of an earlier demo is replaced, any other is left alone.

    Args:
        say: told the name of each part of the way as it begins.

    Raises:
        InputError: `out` holds something that no demo made.
    """
    s = settings or DemoSettings()
    _claim(out)
    say(f"1/6 Synthetic line: {s.train_good} good parts, and defective ones to test on")
    line = LineConfig(size=s.frame_size, seed=seed)
    data = write_mvtec(
        out / "line", line, train_good=s.train_good, test_good=s.test_good, test_per_kind=s.test_per_kind
    )
    say("2/6 Train the diffusion teacher on good parts only")
    limits = OptimiserConfig(batch=s.batch, steps=s.teacher_steps, max_minutes=s.teacher_minutes)
    config = TrainConfig(
        size=s.size,
        seed=seed,
        holdback=0.25,
        augment=AugmentConfig(samples=480),
        teacher=TeacherConfig(),
        optimiser=limits,
    )
    train(data, out / "run", config)
    say("3/6 Distil it to one network evaluation, quantise, check, pack")
    limits = OptimiserConfig(batch=s.batch, steps=s.student_steps, max_minutes=s.student_minutes, learning_rate=1e-3)
    options = ExportOptions(
        precisions=tuple(FORMS),
        distil=DistilConfig(seed=seed, draws=2, optimiser=limits),
        thresholds=ThresholdConfig(false_reject_rate=0.05),
        max_aupro_drop=s.max_aupro_drop,
    )
    exported = export(out / "run", data, out / "model.diffad", options)
    say(f"4/6 Run: {s.stream_frames} frames of a line with 30 % defective parts")
    stream = _stream(out, s, seed)
    say("5/6 Evaluate against the teacher, PaDiM and PatchCore")
    bundle = open_bundle(out / "model.diffad")
    request = EvalRequest(data=out / "line", references=REFERENCES, pictures=True)
    evaluation = evaluate_bundle(bundle, request, [teacher_contestant(out / "run", bundle)]).evaluation
    say("6/6 Time every variant in one interleaved run, write the report")
    timing = bench(
        bundle, variants=SHOWN, frames=s.bench_rounds, frame_size=None, extra=teacher_timing(out / "run", bundle)
    )
    report = publish(
        out / "report",
        evaluation,
        title="diffad-edge demo: machined plates on a synthetic line",
        subtitle="Trained on good parts only, a few minutes on a CPU. The defects were never seen in training.",
        facts=[
            *bundle_facts(bundle),
            ("Data", "the built-in synthetic line"),
            ("Processor", processor()),
            ("Command", "diffad-edge demo"),
            *_rates(stream),
        ],
        timings=timing_rows(timing),
        warnings=exported.warnings,
    )
    return DemoSummary(out, out / "model.diffad", report, exported, stream, evaluation, timing)


def timing_rows(timing: BenchReport) -> list[TimingRow]:
    """A bench report for the HTML page; ratios against the shipped variant's median."""
    fastest = timing.timings[timing.default].stages["total"]["p50"]
    rows = []
    for name, one in timing.timings.items():
        total = one.stages["total"]
        ratio = "shipped" if name == timing.default else f"{total['p50'] / fastest:.1f}x the shipped variant's time"
        label = f"student {name}" if one.backend != "extra" else name
        rows.append(TimingRow(label, total["p50"], total["p95"], total["p99"], ratio))
    return rows


def _claim(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists() or read_json(out / MARKER) != {"made by": "diffad-edge demo"}:
            raise InputError(f"{out} is not empty, and no demo made it", mend="Choose another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / MARKER, {"made by": "diffad-edge demo"})


def _stream(out: Path, s: DemoSettings, seed: int) -> RunSummary:
    # Another seed than the training pictures: these parts were never seen.
    uri = f"synthetic://line?fps=0&defects=0.3&size={s.frame_size}&seed={seed + 1000}&count={s.stream_frames}"
    with Inspector.open(out / "model.diffad") as inspector:
        masks = MaskSink(out / "masks")
        sinks = [masks, JsonlSink(out / "results.jsonl", masks, overwrite=True), open_overlay(out / "overlay")]
        return run_stream(inspector, open_source(uri), sinks)


def _rates(stream: RunSummary) -> list[tuple[str, str]]:
    return [("Streamed", f"{stream.frames} frames, {stream.ng} NG, {stream.frames_per_second:.1f} frames a second")]
