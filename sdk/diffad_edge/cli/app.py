"""The typer app: names of the commands, and how an error leaves the program.

Knows exit codes: 0 done, 1 failed, 2 wrong use or bad input, 3 gate not met, 130 interrupted. Does no work.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from diffad_edge.cli import (
    ablate,
    bench,
    build,
    demo,
    devicestatus,
    doctor,
    estimate,
    evaluate,
    export,
    inspect,
    keys,
    models,
    recalibrate,
    replay,
    run,
    score,
    soak,
    train,
    verify,
)
from diffad_runtime.errors import DiffadError

INTERRUPTED = 130


class _Guarded(TyperGroup):
    """Turns errors that were raised on purpose into one line on stderr and their exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DiffadError as error:
            _leave(f"error: {error}", error.exit_code)
        except ImportError as error:
            from diffad_runtime.opencv import about_import  # noqa: PLC0415  seldom needed

            fault = about_import(error)
            if fault is None:
                raise
            _leave(f"error: {fault}", fault.exit_code)
        except KeyboardInterrupt:
            _leave("interrupted", INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output has enough of it, as in `| head`.
            sys.stdout = None
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds defects in camera frames with a diffusion model distilled to one network evaluation.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from diffad_edge import __version__  # noqa: PLC0415  reads the installed metadata

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


_COMMANDS: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("demo", "Start here", demo.demo),
    ("doctor", "Start here", doctor.doctor),
    ("train", "On the workstation", train.train),
    ("export", "On the workstation", export.export),
    ("eval", "On the workstation", evaluate.evaluate),
    ("ablate", "On the workstation", ablate.ablate),
    ("estimate", "On the workstation", estimate.estimate),
    ("build", "Beside the line", build.build),
    ("run", "Beside the line", run.run),
    ("score", "Beside the line", score.score),
    ("bench", "Beside the line", bench.bench),
    ("replay", "Beside the line", replay.replay),
    ("soak", "Beside the line", soak.soak),
    ("recalibrate", "Beside the line", recalibrate.recalibrate),
    ("inspect", "Beside the line", inspect.inspect),
    ("verify", "Beside the line", verify.verify),
    ("keygen", "Models on a device", keys.keygen),
    ("sign", "Models on a device", keys.sign),
    ("install", "Models on a device", models.install),
    ("commit", "Models on a device", models.commit),
    ("rollback", "Models on a device", models.rollback),
    ("status", "Models on a device", devicestatus.status),
)
for _name, _panel, _command in _COMMANDS:
    app.command(_name, rich_help_panel=_panel)(_command)


def main() -> None:
    """Entry point of `diffad-edge`."""
    app(prog_name="diffad-edge")


def _leave(line: str, code: int) -> NoReturn:
    # print, not rich: a path must not be wrapped or read as markup.
    print(line, file=sys.stderr)
    raise typer.Exit(code) from None
