"""Arguments and options that several commands share, so that they read the same everywhere.

Knows their names, help and completion. Does not check what they name: the library does, and says what is wrong.
"""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Backend(str, Enum):
    """Inference engines by name; "auto" takes the best that works on this machine."""

    AUTO = "auto"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    ONNXRUNTIME_CUDA = "onnxruntime-cuda"
    ONNXRUNTIME_TENSORRT = "onnxruntime-tensorrt"


BundleArgument = Annotated[Path, typer.Argument(metavar="MODEL.diffad", help="The bundle.", show_default=False)]
BackendOption = Annotated[Backend, typer.Option("--backend", help="Inference engine.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Folder of the engines that TensorRT builds on this device.",
        show_default="the user's cache folder",
    ),
]
RecipesOption = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        metavar="FILE.toml|DIR",
        help="Regions, thresholds, tiles of a product, or a folder of such files; edits count from the next frame on.",
        show_default="the whole frame",
    ),
]
RecipeKeyOption = Annotated[
    str | None,
    typer.Option(
        "--product", metavar="NAME|INDEX", help="Which recipe of --recipe.", show_default="the only one there is"
    ),
]
VariantOption = Annotated[
    str | None,
    typer.Option("--variant", help="Variant of the bundle, as 'inspect' lists them.", show_default="the bundle's"),
]
VariantsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        "--variants",
        metavar="A,B",
        help="Variants of the bundle, as 'inspect' lists them; also one made for TensorRT, to check it on onnxruntime.",
        show_default="all that the backend runs",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads of the engine.", show_default="all this process may use"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data", metavar="DIR", help="MVTec-AD layout, or a plain folder of good images.", show_default=False
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of every random number.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def names_of(given: list[str] | None) -> list[str] | None:
    """Names given by commas, by repeating the option, or both; None where none are."""
    return [name.strip() for part in given for name in part.split(",") if name.strip()] if given else None


def frame_size_of(text: str) -> tuple[int, int] | None:
    """ "1920x1080", width first as cameras say it, becomes (1080, 1920); "input" becomes None."""
    if text == "input":
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 16384 and 0 < int(height) <= 16384):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT, as in 1920x1080, or 'input', got {text!r}")
    return int(height), int(width)
