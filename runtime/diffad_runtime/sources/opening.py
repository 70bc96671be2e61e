"""From a URI to an open source.

Knows the schemes, and which of them are cameras that are watched and opened again. Does not know what is behind them;
each kind has a sibling file.
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from diffad_runtime.errors import MissingExtraError, SourceError
from diffad_runtime.imagefile import IMAGE_SUFFIXES
from diffad_runtime.sources.address import CAMERA_FORMS, SCHEMES, meant, without_password
from diffad_runtime.sources.base import Source
from diffad_runtime.sources.camera import CameraSource
from diffad_runtime.sources.folder import FolderSource, ImageSource
from diffad_runtime.sources.limits import Limits
from diffad_runtime.sources.supervised import SupervisedSource
from diffad_runtime.sources.synthetic import SyntheticSource
from diffad_runtime.sources.video import VideoSource

_NETWORK = frozenset({"rtsp", "rtsps", "http", "https"})
# Pictures that were decoded. Where nothing moves, an encoder sends nothing but "as before": with sensor noise of 0.5
# levels x264 at a fixed quantiser repeated one picture for the whole 5 s up to the next key frame, 149 of 149 times
# (docs/static_scene.py). So the limit is longer than any usual distance of key frames. Raw pictures and single JPEGs
# always carry the sensor's noise.
_DECODED = _NETWORK | {"gst"}
_DECODED_FROZEN_S = 15.0
_NEVER_S = 1e9


def open_source(uri: str, *, loop: bool = False, limits: Limits | None = None, supervise: bool | None = None) -> Source:
    """Open a camera, a clip, an image, a folder of images or the synthetic line.

    Args:
        uri: one of CAMERA_FORMS, or the plain path of an existing folder, clip, image or camera device.
        loop: begin again at the end; files, folders and counted synthetic lines only, cameras have no end.
        limits: of a camera that is watched. What is not set there has the default of its kind.
        supervise: watch it, and open it again where it is lost. None: cameras and chaos://, but neither files nor
            folders nor the synthetic line.

    Returns:
        an open source; close it, or use it as a context manager.

    Raises:
        SourceError: unknown scheme, or it cannot be opened, and `limits` do not say to go on trying.
        MissingExtraError: a kind of camera whose package is not installed.
        DataError: a folder without images.
        ImageError: a single image that cannot be read.
    """
    uri = _checked(uri.strip())
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower() if separator else ""
    if uri.isascii() and uri.isdigit():
        return _camera(uri, "v4l2", lambda: CameraSource.usb(uri, int(uri)), limits, supervise)
    if not scheme and Path(uri).is_char_device():
        return _camera(uri, "v4l2", lambda: CameraSource.usb(uri, uri), limits, supervise)
    if scheme == "v4l2":
        device = int(rest) if rest.isascii() and rest.isdigit() else "/" + rest.lstrip("/")
        return _camera(uri, scheme, lambda: CameraSource.usb(uri, device), limits, supervise)
    if scheme in _NETWORK:
        return _camera(uri, scheme, lambda: _network(uri), limits, supervise)
    if scheme in _LAZY:
        return _camera(uri, scheme, lambda: _LAZY[scheme](uri), limits, supervise)

    def plain() -> Source:
        if scheme == "synthetic":
            return SyntheticSource(uri, loop=loop)
        if scheme:
            return _open_local(uri, scheme, rest, loop)
        return _open_path(uri, Path(uri), loop)

    return SupervisedSource(uri, plain, limits=limits, ends=True) if supervise else plain()


def _checked(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    shown = without_password(uri)
    if not separator:
        if not Path(uri).exists() and (guess := meant(uri)):
            raise SourceError(
                f"{shown!r} is neither a file nor a folder", mend=f"Perhaps {without_password(guess)} was meant"
            )
        return uri
    if scheme.lower() not in SCHEMES:
        guess = meant(uri)
        mend = f"Perhaps {without_password(guess)} was meant" if guess else f"Use one of {CAMERA_FORMS}"
        raise SourceError(f"unknown kind of camera {shown!r}", mend=mend)
    if scheme.lower() in _NETWORK:
        try:
            host, _ = urlsplit(uri).hostname, urlsplit(uri).port
        except ValueError as error:
            raise SourceError(
                f"{shown} is no address: {error}", mend="Write rtsp://user:password@host:554/path"
            ) from None
        if not host or any(character.isspace() for character in uri):
            raise SourceError(f"{shown} names no host", mend="Write rtsp://user:password@host:554/path")
    return uri


def _camera(
    uri: str, scheme: str, open_device: Callable[[], Source], limits: Limits | None, supervise: bool | None
) -> Source:
    if supervise is False:
        return open_device()
    limits = limits or Limits()
    if scheme == "genicam" and "trigger=" in uri and "stall_s" not in limits.model_fields_set:
        # It waits for parts, and a line may stand still for hours: silence says nothing.
        limits = limits.model_copy(update={"stall_s": _NEVER_S})
    if scheme in _DECODED and "frozen_s" not in limits.model_fields_set:
        limits = limits.model_copy(update={"frozen_s": _DECODED_FROZEN_S})
    return SupervisedSource(uri, open_device, limits=limits)


def _network(uri: str) -> Source:
    from diffad_runtime.sources.stream import StreamSource  # noqa: PLC0415  needed by few

    try:
        return StreamSource(uri)
    except MissingExtraError as missing:
        source = CameraSource.network(uri)
        source.problems.append(f"pictures that were damaged on the way cannot be told from good ones: {missing}")
        return source


def _csi(uri: str) -> Source:
    from diffad_runtime.sources.csi import open_csi  # noqa: PLC0415  needed by few

    return open_csi(uri)


def _gst(uri: str) -> Source:
    from diffad_runtime.sources.gstreamer import open_pipeline  # noqa: PLC0415  needed by few

    return open_pipeline(uri)


def _genicam(uri: str) -> Source:
    from diffad_runtime.sources.genicam import open_genicam  # noqa: PLC0415  needed by few

    return open_genicam(uri)


def _chaos(uri: str) -> Source:
    from diffad_runtime.chaos import open_chaos  # noqa: PLC0415  needed by few

    return open_chaos(uri)


_LAZY: dict[str, Callable[[str], Source]] = {"csi": _csi, "gst": _gst, "genicam": _genicam, "chaos": _chaos}


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
