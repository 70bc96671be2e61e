"""What an installation takes on each kind of machine, by the requirements of pyproject.toml and their markers.

JetPack brings OpenCV and TensorRT as system packages; no requirement may put a wheel of either before them, nor bring
numpy 2, which JetPack's OpenCV does not load beside.
"""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPENCV = re.compile(r"opencv(-contrib)?-python(-headless)?")


def machine(architecture: str, python: str) -> dict[str, str]:
    return {
        "platform_machine": architecture,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }


JETPACK_6, JETPACK_7 = machine("aarch64", "3.10"), machine("aarch64", "3.12")
X86, SERVER = machine("x86_64", "3.11"), machine("aarch64", "3.11")


def taken(environment: dict[str, str], *extras: str) -> dict[str, SpecifierSet]:
    """Versions by name that are asked for there."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    found: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            found[name] = found.get(name, SpecifierSet()) & requirement.specifier
    return found


@pytest.mark.parametrize("environment", [JETPACK_6, JETPACK_7], ids=["JetPack 6", "JetPack 7"])
def test_jetpacks_own_packages_are_not_hidden(environment: dict[str, str]) -> None:
    found = taken(environment, "jetson", "line", "preview", "metrics")
    assert [name for name in found if OPENCV.fullmatch(name) or name.startswith("tensorrt")] == []
    # 1.26.4 is the last of numpy 1; JetPack's OpenCV 4.8 was built against an earlier one
    assert "1.26.4" in found["numpy"]
    assert "2.0.0" not in found["numpy"]
    # the last onnxruntime for Python 3.10
    assert "1.23.2" in found["onnxruntime"]
    assert "2026.1" in found["pycuda"]


@pytest.mark.parametrize(
    ("environment", "fits", "other"), [(JETPACK_6, "12.9.4", "13.0.1"), (JETPACK_7, "13.2.0", "12.9.4")]
)
def test_cuda_bindings_are_of_jetpacks_cuda(environment: dict[str, str], fits: str, other: str) -> None:
    found = taken(environment, "jetson")["cuda-bindings"]
    assert fits in found
    assert other not in found


def test_an_x86_workstation_gets_opencv_and_any_numpy() -> None:
    found = taken(X86)
    assert "5.0.0" in found["opencv-python-headless"]
    assert all(version in found["numpy"] for version in ("1.26.4", "2.4.6"))
    assert taken(X86, "opencv").keys() == found.keys()


def test_another_aarch64_machine_gets_opencv_by_its_extra() -> None:
    assert "opencv-python-headless" not in taken(SERVER)
    found = taken(SERVER, "opencv")
    # the last wheel that loads beside numpy 1, and numpy 1
    assert "4.11.0.86" in found["opencv-python-headless"]
    assert "1.26.4" in found["numpy"]


@pytest.mark.parametrize("environment", [JETPACK_6, JETPACK_7, X86, SERVER])
def test_nothing_ever_asks_for_tensorrt(environment: dict[str, str]) -> None:
    every = [name for name in PROJECT["optional-dependencies"] if name != "oracle"]
    found = taken(environment, *every)
    assert [name for name in found if name.startswith("tensorrt")] == []


@pytest.mark.parametrize("environment", [JETPACK_6, JETPACK_7, X86, SERVER])
def test_constraints_do_not_contradict_the_requirements(environment: dict[str, str]) -> None:
    """`pip install -c constraints.txt` must not ask for numpy 2 on a Jetson."""
    asked = taken(environment, *PROJECT["optional-dependencies"])
    for name, version in pins(environment).items():
        assert version in asked.get(name, SpecifierSet()), f"{name}=={version} against {asked[name]}"


def test_python_3_10_is_left_where_a_pin_has_no_wheel_for_it() -> None:
    assert pins(X86).keys() - pins(machine("x86_64", "3.10")).keys() == {"av", "numpy", "onnxruntime", "typer"}


def pins(environment: dict[str, str]) -> dict[str, str]:
    """Versions by name that constraints.txt holds there."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(pin.name): specifier.version
        for pin in found
        for specifier in pin.specifier
        if pin.marker is None or pin.marker.evaluate(environment)
    }
