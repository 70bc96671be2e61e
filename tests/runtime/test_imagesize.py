"""What a picture's head claims: the size it has, in every format that is read; and no more than its bytes can hold."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import ImageError
from diffad_runtime.imagefile import decode_image, read_image
from diffad_runtime.imagesize import image_size

SUFFIXES = [".png", ".jpg", ".bmp", ".tif", ".webp"]


@settings(max_examples=60, deadline=None)
@given(suffix=st.sampled_from(SUFFIXES), width=st.integers(1, 300), height=st.integers(1, 300), grey=st.booleans())
def test_the_size_it_has(suffix: str, width: int, height: int, grey: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width) if grey else (height, width, 3), dtype=np.uint8)
    assert image_size(cv2.imencode(suffix, image)[1].tobytes()) == (width, height)


@pytest.mark.parametrize("suffix", [".webp", ".tif"])
def test_other_ways_to_keep_it(suffix: str) -> None:
    image = np.zeros((40, 50, 4), np.uint8)
    image[..., 3] = 128
    settings_ = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    assert image_size(cv2.imencode(suffix, image, settings_)[1].tobytes()) == (50, 40)


def test_lossy_webp_and_upside_down_bmp() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert image_size(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 50])[1].tobytes()) == (50, 40)
    bmp = bytearray(cv2.imencode(".bmp", image)[1].tobytes())
    struct.pack_into("<i", bmp, 22, -40)
    assert image_size(bytes(bmp)) == (50, 40)


def test_big_endian_and_big_tiff() -> None:
    for order, mark in (("<", b"II"), (">", b"MM")):
        entries = struct.pack(order + "2HIHHHHII", 256, 3, 1, 70, 0, 257, 4, 1, 30)
        data = mark + struct.pack(order + "HIH", 42, 8, 2) + entries
        assert image_size(data) == (70, 30)
        entries = struct.pack(order + "2HQQ2HQII", 256, 16, 1, 70, 257, 4, 1, 30, 0)
        data = mark + struct.pack(order + "3HQQ", 43, 8, 0, 16, 2) + entries
        assert image_size(data) == (70, 30)


@settings(max_examples=300, deadline=None)
@given(suffix=st.sampled_from(SUFFIXES), at=st.integers(0, 200), junk=st.binary(max_size=40), cut=st.integers(0, 400))
def test_damage_gives_a_size_or_none(suffix: str, at: int, junk: bytes, cut: int) -> None:
    data = cv2.imencode(suffix, np.zeros((9, 7, 3), np.uint8))[1].tobytes()
    found = image_size((data[:at] + junk + data[at + len(junk) :])[:cut])
    assert found is None or len(found) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"II+\0" + b"\xff" * 12,
        b"MM\0*" + b"\xff" * 8,
        b"GIF89a",
        b"P6 9 9 255\n",
        b"\x89PNG\r\n\x1a\n",
        b"BM",
        b"II*\0",
        b"RIFF",
    ],
)
def test_others_have_none(data: bytes) -> None:
    assert image_size(data) is None


def test_formats_that_nobody_asked_for_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"P6 2 1 255\n" + bytes(6))
    assert cv2.imread(str(path)) is not None
    with pytest.raises(ImageError, match="of another type"):
        read_image(path)


def test_more_than_the_bytes_can_hold() -> None:
    """5,000 x 5,000 and a few bytes: nothing is decoded. As much of it as there could be is."""
    blank = cv2.imencode(".png", np.zeros((5000, 5000), np.uint8))[1].tobytes()
    assert decode_image(blank, "p").shape == (5000, 5000)
    head = blank[: blank.index(b"IDAT") - 4]
    with pytest.raises(ImageError, match="claims 5000 x 5000 pixels in"):
        decode_image(head, "p")
    with pytest.raises(ImageError, match="at most 100 are read"):
        decode_image(cv2.imencode(".png", np.zeros((11, 10), np.uint8))[1].tobytes(), "p", most_pixels=100)
