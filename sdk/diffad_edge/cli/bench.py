"""`diffad-edge bench`: how fast a bundle is on this machine."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffad_edge.cli.arguments import (
    Backend,
    BackendOption,
    BundleArgument,
    CacheOption,
    JsonOption,
    ThreadsOption,
    VariantsOption,
    frame_size_of,
    names_of,
)
from diffad_edge.cli.workstation import reading_graphs, workstation

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffad_calibration.profile import BundleProfile
    from diffad_runtime.bundle import Bundle


def bench(
    model: BundleArgument,
    *,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames for each variant, after a warm-up.")] = 100,
    frame_size: Annotated[
        str, typer.Option("--frame-size", metavar="WxH|input", help="Size of the frames; 'input': the bundle's own.")
    ] = "1920x1080",
    variants: VariantsOption = None,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="RUN", help="Time this run's teacher in torch beside them.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="NAME",
            help="Time a published detector beside them: padim-resnet18.",
            show_default="none",
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Then show where the graphs spend their time, by operator.")
    ] = False,
    backend: BackendOption = Backend.AUTO,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Time each variant, frame in to mask out, in one interleaved run."""
    from diffad_edge.cli.benchview import show_timings
    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.output import print_json
    from diffad_edge.cli.status import Rounds
    from diffad_runtime import bench as timing
    from diffad_runtime.bundle import open_bundle

    size, names = frame_size_of(frame_size), names_of(variants)
    bundle = open_bundle(model)
    # Before torch is loaded: its idle threads would spin on the cores that the next contestant is timed on.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    extra = _extra(teacher, reference, bundle, threads)
    # A missing package is said before the work, not after it.
    profiled = reading_graphs("diffad_calibration.profile", "profile_bundle", "profiling") if profile else None
    with on_device(cache) as device, Rounds("timing") as rounds:
        report = timing.bench(
            bundle,
            backend.value,
            names,
            frames=frames,
            frame_size=size,
            threads=threads,
            device=device,
            extra=extra,
            on_round=rounds.update,
        )
    if not json:
        show_timings(report)
    found = _profiled(profiled, bundle, names, threads, json=json) if profiled else {}
    if json:
        print_json(report.to_json() | found)


def _extra(teacher: Path | None, reference: str | None, bundle: "Bundle", threads: int | None) -> dict[str, Any]:
    """Contestants that need torch."""
    made: dict[str, Any] = {}
    if teacher:
        made |= workstation("teacher_timing", "timing the teacher")(teacher, bundle)
    if reference:
        made |= workstation("reference_timing", "timing a reference")(reference, bundle, threads)
    return made


def _profiled(
    profiler: "Callable[..., BundleProfile]",
    bundle: "Bundle",
    variants: list[str] | None,
    threads: int | None,
    *,
    json: bool,
) -> dict[str, Any]:
    """Profile and print tables, or give the JSON report's key."""
    from diffad_edge.cli.profileview import show_profile
    from diffad_edge.cli.status import Rounds

    with Rounds("profiling") as rounds:
        found = profiler(bundle, variants, threads=threads, on_round=rounds.update)
    if not json:
        show_profile(found)
    return {"profile": found.to_json()}
