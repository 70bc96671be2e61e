"""Image files in and out: read a picture or a mask, list a folder, write a PNG whole or not at all.

Knows file formats, their ends and OpenCV's quirks. Does not know what a picture shows, nor any folder layout.
Pixels are taken as stored: an EXIF orientation tag is not applied and no scale is guessed from the values.
"""

import os
import stat
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import DataError, ImageError
from diffad_runtime.imagesize import JPEG_MARKER, MOST_PIXELS, image_size
from diffad_runtime.result import Image

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# Colour type -> bits a sample.
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_EOI = 0xD9
# Deflate gives 1032 bytes of one at most, 8 pixels each. Other formats give more where a picture is blank.
_MOST_A_BYTE = 8192
_ALWAYS = 1 << 24
_ROWS = 256
_MEND = "Replace the file, or move it out of the folder"

# OpenCV 4 has the switch at the top, OpenCV 5 in utils.logging. Either gives back the level it replaced.
_set_log_level: Callable[[int], int] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
_SILENT = 0
_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_level = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's own lines on stderr inside the block; nests, and works from several threads at once."""
    global _quiet_depth, _quiet_level  # noqa: PLW0603  the log level itself is one per process
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_level = _set_log_level(_SILENT)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _set_log_level(_quiet_level)


def read_image(path: str | Path) -> Image:
    """Read any supported image file.

    Args:
        path: the file; names outside ASCII are fine.

    Returns:
        uint8 (H, W, 3), BGR. Grey becomes three equal channels, alpha is dropped, 16 bit is scaled to 8 (x / 257).

    Raises:
        ImageError: missing, empty, not an image, truncated, or of a pixel type other than 8 or 16 bit unsigned.
    """
    path = Path(path)
    image = _to_8_bit(_decode(path), path)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    if image.shape[2] == 4:
        return np.ascontiguousarray(image[:, :, :3])
    if image.shape[2] != 3:
        raise ImageError(f"image {path} has {image.shape[2]} channels, expected 1, 3 or 4", mend=_MEND)
    return image


def read_mask(path: str | Path) -> Image:
    """Read a ground-truth mask: a pixel is defect where any colour channel is above 0; alpha is ignored.

    Returns:
        uint8 (H, W), 0 or 255.

    Raises:
        ImageError: as `read_image`, and for JPEG, whose ringing would widen the mask.
    """
    path = Path(path)
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        raise ImageError(
            f"mask {path} is a JPEG, expected a lossless format",
            mend="Save masks as PNG, 0 for good and 255 for defect",
        )
    image = _decode(path)
    if image.ndim == 3:
        image = image[:, :, :3].max(axis=2)
    return np.where(image > 0, np.uint8(255), np.uint8(0))


def list_images(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """Paths of the image files (by suffix) in a folder, sorted by their path below it; hidden ones are ignored.

    Raises:
        DataError: no such folder, or no image file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DataError(f"expected a folder of images at {folder}, found {found}", mend="Check the path")
    found_paths = [
        path
        for path in (folder.rglob("*") if recursive else folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not found_paths:
        where = "in it or below" if recursive else "directly in it"
        raise DataError(
            f"folder {folder} has no image files {where}",
            mend=f"Put images there ({', '.join(sorted(IMAGE_SUFFIXES))})",
        )
    return sorted(found_paths, key=lambda path: path.relative_to(folder).as_posix())


def write_png(path: str | Path, image: Image) -> None:
    """Write uint8 (H, W) or (H, W, 3) BGR as PNG under a temporary name, then rename. Missing folders are made.

    OpenCV's default settings are kept on purpose: naming a compression level, even 1, switches its fast row filter
    and strategy off (256 px colour: default 1.6 ms, level 1 4.5 ms; 1080 px: 32 and 63 ms; two x86 cores).

    Raises:
        ImageError: wrong shape or dtype, or the disk refused.
    """
    _write_png(Path(path), image, [])


def write_mask(path: str | Path, mask: Image) -> None:
    """Write uint8 (H, W) of 0 and non-zero as a 1-bit PNG, which reads back as 0 and 255. Otherwise as `write_png`.

    1 bit is the fastest there is for a mask (1080 px: 2.2 ms against 3.0 ms in 8 bit).
    """
    if mask.ndim != 2:
        raise ImageError(f"a mask must have the shape (H, W), got {mask.shape}", mend="Pass one channel")
    _write_png(Path(path), mask, [cv2.IMWRITE_PNG_BILEVEL, 1])


def _write_png(path: Path, image: Image, settings: list[int]) -> None:
    shape_ok = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not shape_ok or image.size == 0:
        raise ImageError(
            f"cannot write {path}: expected uint8 (H, W) or (H, W, 3), got {image.dtype} {image.shape}",
            mend="Convert the array first",
        )
    _, data = cv2.imencode(".png", image, settings)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data.tobytes())
        os.replace(temporary, path)  # noqa: PTH105  atomic, and says so
    except OSError as error:
        with suppress(OSError):  # where the parent is a file, this fails too
            temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise ImageError(f"cannot write {path}: {reason}", mend="Check the folder and the free space") from error


def _decode(path: Path) -> npt.NDArray[Any]:
    """Stored pixels, any depth, (H, W) or (H, W, C)."""
    try:
        if stat.S_ISFIFO(path.stat().st_mode):  # would be waited on for ever
            raise ImageError(f"image {path} is no regular file", mend=_MEND)
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"image {path} does not exist", mend="Check the path") from error
    except OSError as error:
        raise ImageError(f"image {path} cannot be read: {error.strerror or error}", mend="Check the path") from error
    return decode_image(data, str(path))


def decode_image(
    data: bytes, name: str, *, most_pixels: int = MOST_PIXELS, flags: int = cv2.IMREAD_UNCHANGED
) -> npt.NDArray[Any]:
    """Decode the bytes of an image file.

    Args:
        data: of a format of IMAGE_SUFFIXES.
        name: for messages.
        most_pixels: a picture that claims more is refused before anything is decoded.
        flags: of cv2.imdecode.

    Returns:
        Pixels as stored, or as the flags say: any depth, (H, W) or (H, W, C).

    Raises:
        ImageError: empty, damaged, truncated, too large or of another format.
    """
    if not data:
        raise ImageError(f"image {name} is empty (zero bytes)", mend=_MEND)
    size = image_size(data)
    if size is not None and size[0] * size[1] > min(most_pixels, max(_ALWAYS, _MOST_A_BYTE * len(data))):
        raise ImageError(
            f"image {name} claims {size[0]} x {size[1]} pixels in {len(data)} bytes, at most {most_pixels} are read, "
            f"and of more than {_ALWAYS} at most {_MOST_A_BYTE} a byte",
            mend="Make it smaller",
        )
    if data.startswith(_PNG_MAGIC):
        data = _checked_png(data, name)
    elif data.startswith(_JPEG_MAGIC):
        _check_jpeg_ends(data, name)
    image: npt.NDArray[Any] | None = None
    if size is not None:
        with quiet_opencv():
            try:
                image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            except cv2.error:  # more pixels a side than OpenCV agrees to decode
                image = None
    if image is None:
        raise ImageError(
            f"{name} ({len(data)} bytes) is not an image that can be decoded: damaged, truncated or of another type",
            mend=_MEND,
        )
    return image


def _to_8_bit(image: npt.NDArray[Any], path: Path) -> Image:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        narrow = np.empty(image.shape, np.uint8)
        for top in range(0, len(image), _ROWS):  # not all at once: in between it takes nine times as much as comes out
            part = image[top : top + _ROWS].astype(np.uint32)
            narrow[top : top + _ROWS] = (part + 128) // 257  # round(v / 257), exact for every 16-bit v
        return narrow
    raise ImageError(
        f"image {path} holds {image.dtype} pixels, expected 8 or 16 bit unsigned", mend="Convert it to 8 or 16 bit"
    )


def _checked_png(data: bytes, name: str) -> bytes:
    """Walk the chunks and their checksums; give back the file without metadata chunks.

    libpng writes its complaints straight to stderr, so what it would complain about is refused or left out before.
    """
    if data[12:16] == b"IHDR" and (len(data) < 33 or data[24] not in _PNG_DEPTHS.get(data[25], ()) or data[28] > 1):
        raise ImageError(f"image {name} is damaged: its PNG header names no kind of picture", mend=_MEND)
    kept = [_PNG_MAGIC]
    at = len(_PNG_MAGIC)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError(f"image {name} is damaged: wrong checksum in the PNG data at byte {at}", mend=_MEND)
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    raise ImageError(f"image {name} is truncated: the PNG data stop after {len(data)} bytes", mend=_MEND)


def _check_jpeg_ends(data: bytes, name: str) -> None:
    """Find the end marker by walking the segments: a thumbnail inside one has an end marker of its own."""
    at = 2
    while (found := JPEG_MARKER.search(data, at)) is not None:
        if found[1][0] == _JPEG_EOI:
            return
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
    raise ImageError(f"image {name} is truncated: the JPEG data stop after {len(data)} bytes", mend=_MEND)
