"""The way to what needs the extra "export": commands of diffad_export, and what of diffad_calibration reads graphs.

Knows which extra brings what is missing. Does not know what the functions do.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from diffad_runtime.errors import MissingExtraError


def workstation(
    name: str, purpose: str, *, needs: tuple[str, ...] = ("torch", "onnx", "safetensors")
) -> Callable[..., Any]:
    """The function `name` of diffad_export.commands.

    Args:
        name: of the function.
        purpose: for the message where a package is missing, as in "training".
        needs: packages to look for before anything is imported, so that none is missed halfway through the work.

    Raises:
        MissingExtraError: a package of the extra "export" is not installed.
    """
    for package in needs:
        if find_spec(package) is None:
            raise MissingExtraError(package, extra="export", purpose=purpose)
    return _function("diffad_export.commands", name, purpose, usual="torch")


def reading_graphs(module: str, name: str, purpose: str) -> Callable[..., Any]:
    """A function of diffad_calibration that needs the package onnx.

    Args:
        module: as in "diffad_calibration.profile".
        name: of the function.
        purpose: for the message where a package is missing, as in "profiling".

    Raises:
        MissingExtraError: a package of the extra "export" is not installed.
    """
    return _function(module, name, purpose, usual="onnx")


def _function(module: str, name: str, purpose: str, *, usual: str) -> Callable[..., Any]:
    """Import it; `usual`: the package to name where Python does not say which is missing."""
    try:
        function: Callable[..., Any] = getattr(import_module(module), name)
    except ImportError as error:
        package = (error.name or usual).partition(".")[0]
        if package.startswith("diffad_"):
            raise  # a fault of ours, not a missing package
        raise MissingExtraError(package, extra="export", purpose=purpose) from error
    return function
