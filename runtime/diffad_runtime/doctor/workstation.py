"""What training and exporting need beside the line's packages.

Knows the modules of the extra `export`. Loads none of them.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from diffad_runtime.doctor.finding import Finding, ok, warn
from diffad_runtime.doctor.packages import version_of
from diffad_runtime.jetson import is_jetson

_MODULES = ("torch", "onnx", "onnxscript", "safetensors", "efficientnet_lite_pytorch", "jinja2", "matplotlib")


def look_at_export(root: Path) -> Iterator[Finding]:
    """Whether all is there; a Jetson beside the line does without."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if not missing:
        yield ok("export extra", f"complete, torch {version_of('torch') or 'unknown'}")
        return
    found = f"missing: {', '.join(missing)}"
    mend = "Needed for train, export and demo only: pip install 'diffad-edge[export]'"
    yield (
        ok("export extra", f"{found}; a Jetson needs none", mend)
        if is_jetson(root)
        else warn("export extra", found, mend)
    )
