"""Where frames come from: cameras, clips, folders and the synthetic line, all opened by URI.

Cameras come watched: a SupervisedSource finds out that one hangs, stands still or is gone, and opens it again.
"""

from diffad_runtime.sources.address import CAMERA_FORMS
from diffad_runtime.sources.base import Shot, Source, SourceStatus
from diffad_runtime.sources.limits import Limits
from diffad_runtime.sources.opening import open_source
from diffad_runtime.sources.supervised import SupervisedSource

__all__ = ["CAMERA_FORMS", "Limits", "Shot", "Source", "SourceStatus", "SupervisedSource", "open_source"]
