"""From a path to the overlay sink that it asks for. Knows endings. Does not know drawing."""

from pathlib import Path

from diffad_runtime.errors import InputError
from diffad_runtime.sinks.base import Sink
from diffad_runtime.sinks.overlay import CODECS, OverlayPictures, OverlayVideo
from diffad_runtime.sinks.retention import Retention
from diffad_runtime.sinks.segments import OverlaySegments


def open_overlay(
    path: str | Path, fps: float | None = None, *, live: bool = False, retention: Retention | None = None
) -> Sink:
    """A video where the path ends in .mp4 or .avi, a folder of pictures where it has no ending.

    Args:
        path: as above.
        fps: frames per second to play a video at; None: 25.
        live: frames of a camera: a video is cut into segments, and the oldest segments or pictures go.
        retention: how much of a camera's is kept; None: as OverlaySegments and OutputFolder have it.

    Raises:
        InputError: another ending, or the place cannot be written to.
    """
    suffix = Path(path).suffix.lower()
    if suffix in CODECS:
        return OverlaySegments(path, fps, retention=retention) if live else OverlayVideo(path, fps)
    if suffix:
        raise InputError(
            f"overlays cannot be written as {suffix!r}, expected .mp4, .avi or a folder", mend="Name one of these"
        )
    return OverlayPictures(path, live=live, retention=retention)
