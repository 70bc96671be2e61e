"""The ground floor: bundle, engines, sources, pipeline, sinks. numpy, OpenCV and one inference engine; no torch.

Names are loaded when first used, so that `import diffad_runtime` costs nothing by itself.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# onnxruntime's official builds report to Microsoft (since 1.29), keep what they could not send below ~/.cache, and look
# at this when they are imported. Nothing of a production line leaves it unless somebody says so: set it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from diffad_runtime.bundle import Bundle, GoldenFrame, describe_members, open_bundle, write_bundle
    from diffad_runtime.engines.fake import FakeEngine
    from diffad_runtime.engines.select import open_engine
    from diffad_runtime.errors import (
        BundleError,
        DataError,
        DiffadError,
        EngineError,
        GateError,
        ImageError,
        InputError,
        MissingExtraError,
        SourceError,
    )
    from diffad_runtime.inspector import Inspector
    from diffad_runtime.manifest import Manifest
    from diffad_runtime.pipeline import run_stream
    from diffad_runtime.result import Frame, Result, Verdict
    from diffad_runtime.rules import DecisionRules
    from diffad_runtime.sources import Source, open_source
    from diffad_runtime.tally import RunSummary

__all__ = [
    "Bundle",
    "BundleError",
    "DataError",
    "DecisionRules",
    "DiffadError",
    "EngineError",
    "FakeEngine",
    "Frame",
    "GateError",
    "GoldenFrame",
    "ImageError",
    "InputError",
    "Inspector",
    "Manifest",
    "MissingExtraError",
    "Result",
    "RunSummary",
    "Source",
    "SourceError",
    "Verdict",
    "describe_members",
    "open_bundle",
    "open_engine",
    "open_source",
    "run_stream",
    "write_bundle",
]

_HOMES = {
    "bundle": ("Bundle", "GoldenFrame", "describe_members", "open_bundle", "write_bundle"),
    "engines.fake": ("FakeEngine",),
    "engines.select": ("open_engine",),
    "errors": (
        "BundleError",
        "DataError",
        "DiffadError",
        "EngineError",
        "GateError",
        "ImageError",
        "InputError",
        "MissingExtraError",
        "SourceError",
    ),
    "inspector": ("Inspector",),
    "manifest": ("Manifest",),
    "pipeline": ("run_stream",),
    "tally": ("RunSummary",),
    "result": ("Frame", "Result", "Verdict"),
    "rules": ("DecisionRules",),
    "sources": ("Source", "open_source"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    except ImportError as error:
        from diffad_runtime.opencv import about_import  # noqa: PLC0415  seldom needed

        fault = about_import(error)
        if fault is None:
            raise
        raise fault from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
