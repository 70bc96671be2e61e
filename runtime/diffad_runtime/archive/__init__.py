"""Frames kept for later: written by a sink, within limits, and read back to be judged again.

sink        which frames, and a full disk
session     a folder: pictures and lines
record      one line
reading     all of it back
"""

from diffad_runtime.archive.record import Record
from diffad_runtime.archive.sink import ImageArchive

__all__ = ["ImageArchive", "Record"]
