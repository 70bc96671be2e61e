"""Where frames come from: cameras, clips, folders and the synthetic line, all opened by URI."""

from diffad_runtime.sources.base import Shot, Source, SourceStatus
from diffad_runtime.sources.opening import CAMERA_FORMS, open_source

__all__ = ["CAMERA_FORMS", "Shot", "Source", "SourceStatus", "open_source"]
