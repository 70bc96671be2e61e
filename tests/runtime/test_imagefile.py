"""Reading and writing image files: what is refused, and that nothing is lost on the way."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffad_runtime.errors import DataError, ImageError
from diffad_runtime.imagefile import list_images, quiet_opencv, read_image, read_mask, write_mask, write_png

Array = npt.NDArray[Any]


def _picture(height: int = 48, width: int = 64) -> Array:
    rng = np.random.default_rng(0)
    return np.asarray(cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 2))


def _encode(suffix: str, image: Array, settings: tuple[int, ...] = ()) -> bytes:
    return cv2.imencode(suffix, image, list(settings))[1].tobytes()


@pytest.mark.parametrize("name", ["a.png", "größe é 部品.png"])
def test_write_then_read_gives_the_same_pixels(tmp_path: Path, name: str) -> None:
    image = _picture()
    write_png(tmp_path / "new" / name, image)
    assert (read_image(tmp_path / "new" / name) == image).all()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]  # no temporary file stays


def test_every_pixel_layout_becomes_uint8_bgr(tmp_path: Path) -> None:
    image = _picture()
    grey = image[:, :, 0]
    deep = (image.astype(np.uint16) * 257) + np.uint16(1)
    layouts = {
        "grey": (grey, np.repeat(grey[:, :, None], 3, axis=2)),
        "alpha": (np.dstack([image, np.full_like(grey, 7)]), image),
        "deep": (deep, np.round(deep / 257).astype(np.uint8)),
        "deep_grey": (deep[:, :, 0], np.repeat(np.round(deep[:, :, :1] / 257).astype(np.uint8), 3, axis=2)),
    }
    for name, (stored, expected) in layouts.items():
        (tmp_path / f"{name}.png").write_bytes(_encode(".png", stored))
        got = read_image(tmp_path / f"{name}.png")
        assert got.dtype == np.uint8, name
        assert got.flags.c_contiguous, name
        np.testing.assert_array_equal(got, expected, err_msg=name)


def test_sixteen_bit_rounding_is_exact_for_every_value(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "all.png").write_bytes(_encode(".png", every))
    np.testing.assert_array_equal(read_image(tmp_path / "all.png")[:, :, 1], np.round(every / 257).astype(np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95, 0.999])
def test_truncated_files_are_refused_in_silence(
    tmp_path: Path, suffix: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = _encode(suffix, _picture())
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole)
    assert read_image(path).shape == (48, 64, 3)
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError, match=r"cut\."):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_truncated_jpeg_with_a_whole_thumbnail_inside_is_refused(tmp_path: Path) -> None:
    thumbnail = _encode(".jpg", _picture(8, 8))
    whole = _encode(".jpg", _picture(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]
    path = tmp_path / "thumb.jpg"
    path.write_bytes(with_thumbnail + b"trailing bytes of the camera maker")
    assert (read_image(path) == cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)).all()
    path.write_bytes(with_thumbnail[:-2])
    with pytest.raises(ImageError, match="JPEG data stop"):
        read_image(path)


def test_other_broken_files_are_refused_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flipped = bytearray(_encode(".png", _picture()))
    flipped[len(flipped) // 2] ^= 1
    for name, data, why in [
        ("zero.png", b"", "zero bytes"),
        ("text.png", b"this is not a picture\n", "not an image"),
        ("text.jpg", b"this is not a picture\n", "not an image"),
        ("flip.png", bytes(flipped), "checksum"),
        ("float.tiff", _encode(".tiff", _picture().astype(np.float32)), "float32"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=why) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=r"absent\.png does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path)
    assert capfd.readouterr().err == ""


def test_metadata_chunks_that_libpng_dislikes_do_not_matter(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import zlib

    data = _encode(".png", _picture())
    body = b"iCCP" + b"broken profile"
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    (tmp_path / "profile.png").write_bytes(data[:33] + chunk + data[33:])
    assert (read_image(tmp_path / "profile.png") == _picture()).all()
    assert capfd.readouterr().err == ""


def test_mask_is_anything_above_zero(tmp_path: Path) -> None:
    values = np.array([[0, 1, 127, 128, 255]], np.uint8)
    expected = np.array([[0, 255, 255, 255, 255]], np.uint8)
    colour = np.zeros((1, 5, 4), np.uint8)
    colour[:, :, 2] = values
    colour[:, :, 3] = 255
    layouts: list[tuple[str, Array]] = [("grey", values), ("deep", values.astype(np.uint16)), ("colour", colour)]
    for name, stored in layouts:
        (tmp_path / f"{name}.png").write_bytes(_encode(".png", stored))
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), expected, err_msg=name)
    (tmp_path / "lossy.jpg").write_bytes(_encode(".jpg", values))
    with pytest.raises(ImageError, match="lossless"):
        read_mask(tmp_path / "lossy.jpg")


def test_one_bit_masks_come_back_whole(tmp_path: Path) -> None:
    mask = (np.random.default_rng(1).random((37, 41)) > 0.5).astype(np.uint8) * 255
    write_mask(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)
    np.testing.assert_array_equal(read_image(tmp_path / "mask.png")[:, :, 0], mask)


def test_listing_is_sorted_and_ignores_hidden_files(tmp_path: Path) -> None:
    for name in ["b.png", "a.JPG", "sub/c.bmp", ".hidden.png", ".cache/d.png", "notes.txt", "folder.png/e.tif"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    flat = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    deep = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path, recursive=True)]
    assert flat == ["a.JPG", "b.png"]
    assert deep == ["a.JPG", "b.png", "folder.png/e.tif", "sub/c.bmp"]


def test_listing_refuses_what_is_no_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no image files directly in it"):
        list_images(tmp_path)
    with pytest.raises(DataError, match="found nothing"):
        list_images(tmp_path / "absent")
    with pytest.raises(DataError, match="found a file"):
        list_images(tmp_path / "sub" / "a.png")


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.mkdir()  # renaming a file onto a folder fails
    with pytest.raises(ImageError, match=r"cannot write .*out\.png"):
        write_png(target, _picture())
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    wrongs: list[Array] = [_picture().astype(np.float32), _picture()[:, :, :2], np.zeros((0, 4), np.uint8)]
    for wrong in wrongs:
        with pytest.raises(ImageError, match="expected uint8"):
            write_png(tmp_path / "wrong.png", wrong)


def test_quiet_opencv_is_silent_inside_and_restores_the_level(capfd: pytest.CaptureFixture[str]) -> None:
    truncated = np.frombuffer(_encode(".bmp", _picture())[:200], np.uint8)
    with quiet_opencv():
        with quiet_opencv():
            cv2.imdecode(truncated, cv2.IMREAD_COLOR)
        cv2.imdecode(truncated, cv2.IMREAD_COLOR)
    assert capfd.readouterr().err == ""
    get_level = getattr(cv2, "getLogLevel", None) or cv2.utils.logging.getLogLevel
    level = get_level()
    assert level > 0
    with quiet_opencv():
        assert get_level() == 0
    assert get_level() == level


def test_a_parent_that_is_a_file_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ImageError, match=r"cannot write .*mask\.png"):
        write_mask(tmp_path / "file" / "mask.png", np.zeros((4, 4), np.uint8))
