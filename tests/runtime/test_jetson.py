"""Facts read from the files of made Jetsons, and what is said where there are none or they are damaged."""

from pathlib import Path

import pytest

from diffad_runtime.jetson import (
    Clock,
    PowerMode,
    board,
    clocks,
    generation_of,
    is_jetson,
    jetpack_of,
    l4t_release,
    power_mode,
)


def test_orin_nano(orin_nano: Path) -> None:
    assert is_jetson(orin_nano)
    assert l4t_release(orin_nano) == "36.4.3"
    assert board(orin_nano) == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    # neither the highest number nor the last in the file is the fastest, and a comment is no mode
    assert power_mode(orin_nano) == PowerMode(0, "15W", 2, "MAXN_SUPER")
    assert clocks(orin_nano) == (
        Clock("GPU", 306, 306, 612),
        Clock("CPU 0", 729.6, 729.6, 1510.4),
        Clock("CPU 4", 1510.4, 729.6, 1510.4),
    )
    assert not any(clock.pinned for clock in clocks(orin_nano))


def test_thor(thor: Path) -> None:
    assert l4t_release(thor) == "38.2.0"
    assert power_mode(thor) == PowerMode(0, "MAXN", 0, "MAXN")
    assert [(clock.name, clock.pinned) for clock in clocks(thor)] == [("GPU", True), ("CPU 0", True)]


def test_another_machine_and_an_empty_one(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        assert not is_jetson(root)
        assert (l4t_release(root), board(root), power_mode(root), clocks(root)) == ("", "", None, ())


@pytest.mark.parametrize(
    ("file", "text", "jetson"),
    [
        ("proc/sys/kernel/osrelease", "6.8.12-1021-tegra\n", True),  # all that a container sees
        ("proc/device-tree/compatible", "nvidia,p3737\0nvidia,tegra234\0", True),
        ("proc/sys/kernel/osrelease", "6.8.0-45-generic\n", False),
        ("etc/nv_tegra_release", "nothing that we know\n", False),
    ],
)
def test_signs_of_a_jetson(file: str, text: str, jetson: bool, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(text.encode())
    assert is_jetson(tmp_path) is jetson


@pytest.mark.parametrize(
    ("l4t", "jetpack", "generation"),
    [
        ("36.3.0", "6.0", 6),
        ("36.4", "6.1", 6),
        ("36.4.0", "6.1", 6),
        ("36.4.3", "6.2", 6),
        ("36.4.4", "6.2.1", 6),
        ("36.5.0", "6.2.2", 6),
        ("38.2.0", "7.0", 7),
        ("38.4.0", "7.1", 7),
        ("39.2.0", "7.2", 7),
        ("36.99.1", "", 6),  # a later one is not guessed
        ("99.1.0", "", 0),
        ("", "", 0),
        ("36", "", 6),
        ("36.4.3.1", "", 6),
        ("nonsense", "", 0),
    ],
)
def test_the_table_of_releases(l4t: str, jetpack: str, generation: int) -> None:
    assert jetpack_of(l4t) == jetpack
    assert generation_of(l4t) == generation


@pytest.mark.parametrize(
    ("status", "modes", "expected"),
    [
        ("pmode:0001", "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >", PowerMode(1, "7W", 0, "15W")),
        ("pmode:0003", "< POWER_MODEL ID=0 NAME=MAXN >\n<POWER_MODEL ID=3 NAME=50W>", PowerMode(3, "50W", 0, "MAXN")),
        ("pmode:0002", "", PowerMode(2, "", 2, "")),
        ("pmode:0007", "< POWER_MODEL ID=0 NAME=odd >", PowerMode(7, "", 7, "")),
        ("damaged", "< POWER_MODEL ID=0 NAME=15W >", None),
    ],
)  # fmt: skip
def test_power_modes(status: str, modes: str, expected: PowerMode | None, orin_nano: Path) -> None:
    (orin_nano / "var/lib/nvpmodel/status").write_text(status)
    (orin_nano / "etc/nvpmodel.conf").write_text(modes)
    assert power_mode(orin_nano) == expected


def test_damaged_files_are_left_out(orin_nano: Path) -> None:
    (orin_nano / "sys/class/devfreq/17000000.gpu/cur_freq").write_text("<unsupported>")
    (orin_nano / "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq").unlink()
    (orin_nano / "etc/nv_tegra_release").write_bytes(b"\xff\xfe# R36 (release), REVISION: x")
    assert [clock.name for clock in clocks(orin_nano)] == ["CPU 4"]
    assert l4t_release(orin_nano) == ""
    assert is_jetson(orin_nano)
