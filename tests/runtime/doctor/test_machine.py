"""Python, environment, memory, disk and cache folder: each status, on made machines."""

import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from diffad_runtime.doctor import machine
from diffad_runtime.doctor.finding import Finding
from diffad_runtime.doctor.machine import cache, environment

Usage = namedtuple("Usage", "total used free")


def only(findings: list[Finding], name: str) -> Finding:
    (found,) = (finding for finding in findings if finding.name == name)
    return found


def test_a_python_that_is_not_jetpacks(orin_nano: Path, thor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_JETPACK_PYTHON", {6: tuple(sys.version_info[:2]), 7: (3, 99)})
    assert only([*machine.look_at_python(orin_nano)], "python").status == "ok"
    other = only([*machine.look_at_python(thor)], "python")
    assert (other.status, "3.99" in other.detail, "--system-site-packages" in other.mend) == ("warn", True, True)


def test_the_environment_is_no_matter_elsewhere(tmp_path: Path) -> None:
    assert [finding.name for finding in machine.look_at_python(tmp_path)] == ["python"]


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ("home = /usr/bin\ninclude-system-site-packages = true\n", "ok"),
        ("home = /usr/bin\nInclude-System-Site-Packages=TRUE\n", "ok"),
        ("home = /usr/bin\ninclude-system-site-packages = false\n", "warn"),
        ("", "warn"),
    ],
)
def test_virtual_environments(settings: str, status: str, tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text(settings)
    found = environment(tmp_path, Path("/usr"))
    assert found.status == status
    assert ("--system-site-packages" in found.mend) is (status == "warn")


def test_no_environment_and_one_of_conda(tmp_path: Path) -> None:
    assert environment(Path("/usr"), Path("/usr")).status == "ok"
    (tmp_path / "conda-meta").mkdir()
    assert environment(tmp_path, tmp_path).status == "warn"


def test_int8_instructions(orin_nano: Path, thor: Path) -> None:
    (orin,) = machine.look_at_processor(orin_nano)
    assert (orin.status, "asimddp" in orin.detail) == ("ok", True)
    (none,) = machine.look_at_processor(thor)
    assert none.status == "warn"


@pytest.mark.parametrize(
    ("free_mib", "board", "status", "mend"),
    [
        (5120, True, "ok", "No action"),
        (2047, True, "warn", "isolate multi-user.target"),
        (2047, False, "ok", "No action"),
        (1023, False, "warn", "1 GiB"),
    ],
)
def test_memory(free_mib: int, board: bool, status: str, mend: str, orin_nano: Path) -> None:
    (orin_nano / "proc/meminfo").write_text(f"MemTotal: 7802104 kB\nMemAvailable: {free_mib * 1024} kB\n")
    if not board:
        (orin_nano / "etc/nv_tegra_release").unlink()
        (orin_nano / "proc/sys/kernel/osrelease").unlink()
        (orin_nano / "proc/device-tree/compatible").unlink()
    (found,) = machine.look_at_memory(orin_nano)
    assert found.status == status
    assert mend in found.mend


def test_memory_that_cannot_be_read(tmp_path: Path) -> None:
    (found,) = machine.look_at_memory(tmp_path)
    assert found.status == "warn"


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for free, status in ((3 << 30, "ok"), (1 << 30, "warn")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: Usage(1, 1, free))
        assert only([*machine.look_at_disk(tmp_path)], "disk").status == status


def test_a_working_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    found = only([*machine.look_at_disk(tmp_path)], "disk")
    assert (found.status, "working folder" in found.detail) == ("warn", True)


def test_the_cache_folder_is_tried_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache().status == "ok"
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "diffad-edge").mkdir(mode=0o700)
    assert cache().status == "ok"
    assert [*(tmp_path / "diffad-edge").iterdir()] == []


def test_a_cache_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for base in ("/proc/none", str(tmp_path / "file")):
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        found = cache()
        assert (found.status, "XDG_CACHE_HOME" in found.mend, "--cache" in found.mend) == ("warn", True, True)


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_cache_folder_that_others_may_write_to(mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "diffad-edge").mkdir()
    (tmp_path / "diffad-edge").chmod(0o775)  # as some systems make folders: what lies in it is what counts
    assert cache().status == "ok"
    (tmp_path / "diffad-edge" / "engines").mkdir()
    (tmp_path / "diffad-edge" / "engines").chmod(mode)
    found = cache()
    assert (found.status, "by others" in found.detail) == ("warn", True)


def test_a_cache_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "diffad-edge" / "engines").mkdir(mode=0o700, parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "diffad-edge").stat().st_uid + 1)
    # root's own may be used by everybody who may read it
    expected = "ok" if (tmp_path / "diffad-edge").stat().st_uid == 0 else "warn"
    assert cache().status == expected


def test_a_full_disk_and_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 1 << 29))
    assert "0.5 GiB free" in cache().detail
    assert cache().status == "warn"

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", none)
    assert "no home folder" in cache().detail
