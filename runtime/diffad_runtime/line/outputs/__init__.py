"""Line signals by digital outputs: docs/outputs.md."""

from diffad_runtime.line.outputs.adapter import OutputsAdapter
from diffad_runtime.line.outputs.settings import LineAt, Lines, OutputsSettings, Signal

__all__ = ["LineAt", "Lines", "OutputsAdapter", "OutputsSettings", "Signal"]
