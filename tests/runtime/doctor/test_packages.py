"""Which distributions are wheels of pip, and where they lie."""

import re
from pathlib import Path

import pytest

from diffad_runtime.doctor.packages import Wheel, of_system, uninstall, version_of, wheels

TENSORRT = re.compile(r"tensorrt(-cu\d+)?(-libs)?")


def install(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("file", "system"),
    [
        ("/usr/lib/python3.10/dist-packages/tensorrt/__init__.py", True),
        ("/usr/lib/python3/dist-packages/cv2.so", True),
        ("/usr/local/lib/python3.10/dist-packages/tensorrt/__init__.py", False),
        ("/home/me/.local/lib/python3.10/site-packages/cv2/__init__.py", False),
        ("/home/me/usr/lib/python3/x.py", False),
        ("", False),
    ],
)
def test_whose_a_file_is(file: str, system: bool) -> None:
    assert of_system(file) is system


def test_wheels_are_found_by_name_in_any_spelling(tmp_path: Path) -> None:
    for name in ("tensorrt", "TensorRT_cu12.libs", "tensorrt_rtx", "my-tensorrt"):
        install(tmp_path, name, "10.7.0")
    (tmp_path / "broken-1.dist-info").mkdir()
    found = wheels(TENSORRT, [str(tmp_path)])
    assert found == [Wheel("tensorrt", "10.7.0", tmp_path), Wheel("tensorrt-cu12-libs", "10.7.0", tmp_path)]
    assert uninstall(found) == "pip uninstall -y tensorrt tensorrt-cu12-libs"
    assert str(found[0]) == f"tensorrt 10.7.0 in {tmp_path}"


def test_what_the_system_brings_is_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "tensorrt", "10.3.0")
    monkeypatch.setattr("diffad_runtime.doctor.packages._SYSTEM", re.compile(re.escape(str(tmp_path))))
    assert wheels(TENSORRT, [str(tmp_path)]) == []


def test_versions() -> None:
    assert version_of("numpy").split(".")[0].isdecimal()
    assert version_of("no-such-distribution-anywhere") == ""
