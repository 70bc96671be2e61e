"""`diffad-edge export`: from a trained run to one .diffad file."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import DeviceOption, JsonOption, SeedOption, frame_size_of
from diffad_edge.cli.trustoptions import PassphraseOption
from diffad_edge.cli.workstation import workstation


def _numbers(text: str | None) -> tuple[int, ...] | None:
    """ "24,32" becomes (24, 32)."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"expected whole numbers by comma, as in 24,32, got {text!r}")
    return tuple(map(int, parts))


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|MODEL.diffad", help="Folder of a trained run; a bundle, for --triton.", show_default=False
        ),
    ],
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="MVTec-AD layout, or a plain folder of good images.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="MODEL.diffad", help="The bundle.", show_default=False)
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option("--sign", metavar="NAME.key", help="Private half of the key that signs.", show_default="unsigned"),
    ] = None,
    passphrase: PassphraseOption = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            "--triton",
            metavar="DIR",
            help="Also write a model repository for a Triton Inference Server; docs/triton.md.",
            show_default="none",
        ),
    ] = None,
    triton_on: Annotated[str, typer.Option("--triton-on", metavar="cpu|gpu", help="Where that server runs.")] = "cpu",
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            metavar="N",
            help="Noise levels, a network evaluation each: 1, 2 or 4. With --budget-ms several to choose from.",
            show_default="1; all with --budget-ms",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="By comma: fp32, fp16, int8. A budget chooses from fp32 and int8.",
        ),
    ] = "fp32,fp16,int8",
    target: Annotated[
        str, typer.Option("--target", help="Backends that INT8 is made for, by comma: cpu, tensorrt.")
    ] = "cpu,tensorrt",
    width: Annotated[
        str | None,
        typer.Option(
            "--width",
            "--widths",
            metavar="W",
            help="Channels of the student: 8, 16, 24, 32, 48, 64. With --budget-ms several to choose from.",
            show_default="48; all with --budget-ms",
        ),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option(
            "--budget-ms",
            metavar="MS",
            help="Search for the most accurate student whose median frame takes no longer on this machine.",
            show_default="no search",
        ),
    ] = None,
    frame_size: Annotated[
        str,
        typer.Option(
            "--frame-size", metavar="WxH|input", help="Of the frames of the budget; 'input': the network's own size."
        ),
    ] = "input",
    max_minutes: Annotated[
        float | None,
        typer.Option("--max-minutes", min=0.01, help="Stop distilling in time, each student.", show_default="no limit"),
    ] = None,
    max_aupro_drop: Annotated[
        float,
        typer.Option(
            "--max-aupro-drop",
            min=0,
            max=1,
            help="Gate, on good images with pasted defects: against torch; with --budget-ms against the teacher too.",
        ),
    ] = 0.005,
    labelled: Annotated[
        Path | None,
        typer.Option(
            "--labelled",
            metavar="DIR",
            help="Test images with masks that the gate looks at instead; figures on them are then no longer blind.",
            show_default="pasted defects",
        ),
    ] = None,
    ranges: Annotated[
        str, typer.Option("--ranges", help="How INT8 ranges are estimated: minmax, percentile, entropy, mse.")
    ] = "percentile",
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback", help="Keep the worst layers of an INT8 variant that a gate refuses out of INT8."
        ),
    ] = True,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Measure what rounding each layer does, for the provenance: minutes."),
    ] = False,
    false_reject_rate: Annotated[
        float, typer.Option("--false-reject-rate", help="Share of good parts that may be rejected.")
    ] = 0.001,
    shared: Annotated[
        bool | None,
        typer.Option("--shared/--separate", help="One network for all levels, or one each.", show_default="separate"),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws", min=1, max=64, help="Noise draws a level, averaged; 2 are antithetic.", show_default="1"
        ),
    ] = None,
    pasted: Annotated[
        float | None,
        typer.Option(
            "--pasted", min=0, max=1, help="Share of training images with a pasted defect.", show_default="0.5"
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting of the distillation, as in losses.map=1 or optimiser.steps=800.",
            show_default="none",
        ),
    ] = None,
    qat: Annotated[
        str,
        typer.Option(
            "--qat", metavar="auto|on|off", help="Fine-tune INT8 with fake quantisation; auto: where a gate refuses it."
        ),
    ] = "auto",
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    category: Annotated[
        str | None,
        typer.Option("--category", help="Of a run that knows several.", show_default="the only one"),
    ] = None,
    feature_score: Annotated[
        str | None,
        typer.Option("--feature-score", help="residual, likelihood, whitened or combined.", show_default="likelihood"),
    ] = None,
    variance_floor: Annotated[
        float | None,
        typer.Option(
            "--variance-floor",
            min=0,
            help="Noise taken to lie on every feature, a variance; learned in training.",
            show_default="0.1",
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", min=0, max=1, help="Weight of the pixel KL.", show_default="0"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Distil the teacher, quantise, check against torch and pack the bundle.

    With --budget-ms, steps x width x precision are searched. The budget covers the median frame in ONNX Runtime, with
    all cores that this process may use: resize, extractor, student, image score and mask; p95 is reported. The most
    accurate student within it wins, of those within 0.001 the fastest. Accuracy is AUPRO@0.3 on good images held back,
    with pasted defects. Students learn with such defects too: the figure ranks students, and does not say how real
    defects fare (see eval). Nothing fits: exit code 3. What is measured is kept in RUN/search-*.json; after Ctrl-C the
    same command goes on.
    """
    if run.suffix == ".diffad":
        _for_triton(run, triton, triton_on, json=json)
        return
    if data is None or out is None:
        raise typer.BadParameter("Missing option '--data' or '--out': a run is exported with both.")
    if sign is not None:  # a key that cannot be used is said before the work, not after it
        from diffad_runtime.trust.keys import read_private

        read_private(sign, passphrase)
    from diffad_edge.cli.searchview import Watch
    from diffad_edge.cli.workstationview import show_export

    steps_given, widths, frames = _numbers(steps), _numbers(width), frame_size_of(frame_size)
    with Watch(json=json) as watch:
        summary = workstation("export_run", "export")(
            run=run,
            data=data,
            out=out,
            steps=steps_given,
            precision=precision,
            target=target,
            labelled=labelled,
            ranges=ranges,
            fallback=fallback,
            sensitivity=sensitivity,
            width=widths,
            budget_ms=budget_ms,
            frame_size=frames,
            max_minutes=max_minutes,
            max_aupro_drop=max_aupro_drop,
            false_reject_rate=false_reject_rate,
            shared=shared,
            draws=draws,
            pasted=pasted,
            settings=settings or [],
            qat=qat,
            device=device,
            category=category,
            feature_score=feature_score,
            variance_floor=variance_floor,
            alpha=alpha,
            seed=seed,
            watch=watch,
        )
    if sign is not None:
        _sign(out, sign, passphrase)
    if triton is not None:
        _for_triton(out, triton, triton_on, json=False)
    show_export(summary, json=json)


def _sign(model: Path, key: Path, passphrase: str | None) -> None:
    from diffad_edge.cli.output import note
    from diffad_runtime.trust import sign_bundle

    note(f"signed by key {sign_bundle(model, key, passphrase=passphrase).key_id}")


def _for_triton(model: Path, folder: Path | None, kind: str, *, json: bool) -> None:
    from diffad_edge.cli.scaleview import show_triton
    from diffad_edge.cli.workstation import reading_graphs
    from diffad_runtime.bundle import open_bundle

    if folder is None:
        raise typer.BadParameter("A bundle is exported already: say --triton DIR, or give the folder of a run.")
    write = reading_graphs("diffad_calibration.triton", "write_repository", "writing a model repository")
    placement = reading_graphs("diffad_calibration.triton", "Placement", "writing a model repository")
    show_triton(write(open_bundle(model), folder, placement=placement(kind)), json=json)
