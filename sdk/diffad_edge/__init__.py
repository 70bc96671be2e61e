"""diffad-edge: look at parts with a .diffad bundle, frame by frame.

    from diffad_edge import Inspector

    with Inspector.open("model.diffad") as inspector:
        result = inspector.inspect(frame)

The face only: every name lives in diffad_runtime and is imported when it is first used, so that the command line
starts at once. Nothing here needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffad_runtime.bundle import Bundle, open_bundle
    from diffad_runtime.engines.ondevice import OnDevice, Watcher
    from diffad_runtime.errors import (
        BundleError,
        DataError,
        DiffadError,
        EngineError,
        GateError,
        ImageError,
        InputError,
        MissingExtraError,
        RecipeError,
        SourceError,
    )
    from diffad_runtime.inspector import Inspector
    from diffad_runtime.recipes import Recipe, RecipeBook, load_recipe
    from diffad_runtime.result import Defect, ErrorCode, Frame, RegionScore, Result, Verdict
    from diffad_runtime.sources import open_source
    from diffad_runtime.sources.limits import Limits
    from diffad_runtime.station import Station

    __version__: str

_HOME = {
    "Bundle": "diffad_runtime.bundle",
    "BundleError": "diffad_runtime.errors",
    "DataError": "diffad_runtime.errors",
    "Defect": "diffad_runtime.result",
    "DiffadError": "diffad_runtime.errors",
    "EngineError": "diffad_runtime.errors",
    "ErrorCode": "diffad_runtime.result",
    "Frame": "diffad_runtime.result",
    "GateError": "diffad_runtime.errors",
    "ImageError": "diffad_runtime.errors",
    "InputError": "diffad_runtime.errors",
    "Inspector": "diffad_runtime.inspector",
    "Limits": "diffad_runtime.sources.limits",
    "MissingExtraError": "diffad_runtime.errors",
    "OnDevice": "diffad_runtime.engines.ondevice",
    "Recipe": "diffad_runtime.recipes",
    "RecipeBook": "diffad_runtime.recipes",
    "RecipeError": "diffad_runtime.errors",
    "RegionScore": "diffad_runtime.result",
    "Result": "diffad_runtime.result",
    "SourceError": "diffad_runtime.errors",
    "Station": "diffad_runtime.station",
    "Verdict": "diffad_runtime.result",
    "Watcher": "diffad_runtime.engines.ondevice",
    "load_recipe": "diffad_runtime.recipes",
    "open_bundle": "diffad_runtime.bundle",
    "open_source": "diffad_runtime.sources",
}

__all__ = [
    "Bundle",
    "BundleError",
    "DataError",
    "Defect",
    "DiffadError",
    "EngineError",
    "ErrorCode",
    "Frame",
    "GateError",
    "ImageError",
    "InputError",
    "Inspector",
    "Limits",
    "MissingExtraError",
    "OnDevice",
    "Recipe",
    "RecipeBook",
    "RecipeError",
    "RegionScore",
    "Result",
    "SourceError",
    "Station",
    "Verdict",
    "Watcher",
    "__version__",
    "load_recipe",
    "open_bundle",
    "open_source",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  tens of milliseconds, seldom needed

        value: Any = version("diffad-edge")
    elif name in _HOME:
        try:
            value = getattr(import_module(_HOME[name]), name)
        except ImportError as error:
            from diffad_runtime.opencv import about_import  # noqa: PLC0415  seldom needed

            fault = about_import(error)
            if fault is None:
                raise
            raise fault from error
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
