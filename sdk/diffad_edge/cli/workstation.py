"""The way to what needs torch: commands of diffad_export, imported when they are called.

Knows which extra brings them. Does not know what they do.
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
    try:
        commands = import_module("diffad_export.commands")
    except ImportError as error:
        package = (error.name or "torch").partition(".")[0]
        if package.startswith("diffad_"):
            raise  # a fault of ours, not a missing package
        raise MissingExtraError(package, extra="export", purpose=purpose) from error
    function: Callable[..., Any] = getattr(commands, name)
    return function
