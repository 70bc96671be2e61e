"""Where results go: masks, JSON lines, overlays, raw maps. Each kind has its own file over `base.Sink`."""

from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.jsonl import JsonlSink
from diffad_runtime.sinks.masks import MaskSink
from diffad_runtime.sinks.overlay import OverlayPictures, OverlayVideo, draw_overlay, open_overlay
from diffad_runtime.sinks.raw import RawSink

__all__ = [
    "JsonlSink",
    "MaskSink",
    "OverlayPictures",
    "OverlayVideo",
    "RawSink",
    "Sink",
    "draw_overlay",
    "open_overlay",
]
