"""From a URI to an open source.

Knows the schemes. Does not know what is behind them; each kind has a sibling file.
"""

from pathlib import Path
from urllib.parse import unquote

from diffad_runtime.errors import SourceError
from diffad_runtime.imagefile import IMAGE_SUFFIXES
from diffad_runtime.sources.base import Source
from diffad_runtime.sources.camera import CameraSource, without_password
from diffad_runtime.sources.folder import FolderSource, ImageSource
from diffad_runtime.sources.synthetic import SyntheticSource
from diffad_runtime.sources.video import VideoSource

CAMERA_FORMS = (
    "0 (camera index), v4l2:///dev/video0, rtsp://..., http://..., file://clip.mp4, dir://folder, "
    "synthetic://line?fps=30&defects=0.1"
)


def open_source(uri: str, *, loop: bool = False) -> Source:
    """Open a camera, a clip, an image, a folder of images or the synthetic line.

    Args:
        uri: one of CAMERA_FORMS, or the plain path of an existing folder, clip or image.
        loop: begin again at the end; files, folders and counted synthetic lines only, cameras have no end.

    Returns:
        an open source; close it, or use it as a context manager.

    Raises:
        SourceError: unknown scheme, or it cannot be opened.
        DataError: a folder without images.
        ImageError: a single image that cannot be read.
    """
    uri = uri.strip()
    if uri.isascii() and uri.isdigit():
        return CameraSource.usb(uri, int(uri))
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _open_path(uri, Path(uri), loop)
    scheme = scheme.lower()
    if scheme in {"dir", "file"}:
        return _open_local(uri, scheme, rest, loop)
    if scheme == "v4l2":
        return CameraSource.usb(uri, int(rest) if rest.isascii() and rest.isdigit() else "/" + rest.lstrip("/"))
    if scheme in {"rtsp", "rtsps", "http", "https"}:
        return CameraSource.network(uri)
    if scheme == "synthetic":
        return SyntheticSource(uri, loop=loop)
    if scheme == "csi":
        raise SourceError(f"CSI cameras ({uri}) are not in this version", mend=f"Use one of {CAMERA_FORMS}")
    raise SourceError(f"unknown kind of camera {without_password(uri)!r}", mend=f"Use one of {CAMERA_FORMS}")


def _open_local(uri: str, scheme: str, rest: str, loop: bool) -> Source:
    path = Path(rest)
    if not path.exists():
        path = Path(unquote(rest))  # both "my folder" and "my%20folder" are seen in practice
    if not rest or not path.exists():
        raise SourceError(f"{uri}: there is no {rest or 'path in it'}", mend="Check the path")
    if scheme == "dir" and not path.is_dir():
        raise SourceError(f"{uri}: {path} is a file, expected a folder", mend=f"Use file://{path}")
    if scheme == "file" and path.is_dir():
        raise SourceError(f"{uri}: {path} is a folder, expected a file", mend=f"Use dir://{path}")
    return _open_path(uri, path, loop)


def _open_path(uri: str, path: Path, loop: bool) -> Source:
    if not uri or not path.exists():
        raise SourceError(
            f"{uri!r} is neither a file, nor a folder, nor a kind of camera", mend=f"Use one of {CAMERA_FORMS}"
        )
    if path.is_dir():
        return FolderSource(uri, path, loop=loop)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(uri, path, loop=loop)
    return VideoSource(uri, path, loop=loop)
