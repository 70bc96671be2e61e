"""`diffad-edge recalibrate`: thresholds anew from frames of this line, without training."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import (
    Backend,
    BackendOption,
    BundleArgument,
    CacheOption,
    JsonOption,
    ThreadsOption,
    VariantOption,
)


def recalibrate(
    model: BundleArgument,
    *,
    good: Annotated[
        str,
        typer.Option(
            "--good",
            metavar="DIR|URI",
            help="New frames of good parts only: a folder, or a camera as 'run' takes it. One frame a part.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="NEW.diffad", help="The new bundle; the old one's path replaces it.", show_default=False
        ),
    ],
    frames: Annotated[
        int | None,
        typer.Option("--frames", metavar="N", min=1, help="Take N frames; cameras need it.", show_default="all"),
    ] = None,
    false_reject_rate: Annotated[
        float | None,
        typer.Option(
            "--false-reject-rate",
            metavar="R",
            help="Share of good parts that may be rejected.",
            show_default="as the bundle was made for",
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            "--labelled",
            metavar="DIR",
            help="Choose the image threshold between good and defective images: test/good, test/<kind>. The largest "
            "F1, within --false-reject-rate where that is given.",
            show_default="none",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where most frames score above the old threshold.")
    ] = False,
    backend: BackendOption = Backend.AUTO,
    variant: VariantOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Set a bundle's thresholds anew on frames of good parts, and write it as its next version.

    The network's graphs stay as they are, byte for byte. A signature does not survive: sign the new bundle. Refused are
    fewer than 10 different frames, frames that cannot be read, frames of one colour, and, without --force, frames of
    which most score above the threshold in force.
    """
    from diffad_calibration.thresholds.recalibrate import RecalibrateOptions
    from diffad_calibration.thresholds.recalibrate import recalibrate as renew
    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.recalibrateview import show_recalibration
    from diffad_edge.cli.status import Rounds

    with on_device(cache) as device, Rounds("Judging good frames") as rounds:
        options = RecalibrateOptions(
            frames, false_reject_rate, labelled, backend.value, variant, threads, force, device
        )
        done = renew(model, good, out, options, rounds.update)
    show_recalibration(done, json=json)
