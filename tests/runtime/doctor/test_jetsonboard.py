"""JetPack, power mode and clocks: each status, on made Jetsons."""

from pathlib import Path

import pytest

from diffad_runtime.doctor.finding import Finding
from diffad_runtime.doctor.jetsonboard import look_at_jetson


def seen(root: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in look_at_jetson(root)}


def test_an_orin_nano_as_it_comes(orin_nano: Path) -> None:
    found = seen(orin_nano)
    assert found["jetpack"].status == "ok"
    assert found["jetpack"].detail.endswith("Super, JetPack 6.2, L4T 36.4.3")
    assert found["power mode"].status == "warn"
    assert "sudo nvpmodel -m 2" in found["power mode"].mend
    assert found["clocks"].status == "warn"
    assert found["clocks"].detail == "not pinned: GPU 306 of 612 MHz, CPU 0 730 of 1510 MHz"
    assert "sudo jetson_clocks" in found["clocks"].mend


def test_a_thor_that_was_set_up(thor: Path) -> None:
    found = seen(thor)
    assert {finding.status for finding in found.values()} == {"ok"}
    assert found["clocks"].detail == "pinned: GPU 1575 of 1575 MHz, CPU 0 2601 of 2601 MHz"


def test_clocks_are_pinned_where_all_of_them_are(thor: Path) -> None:
    (thor / "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq").write_text("972000\n")
    assert seen(thor)["clocks"].status == "warn"


def test_the_fastest_mode_need_not_be_without_a_limit(orin_nano: Path) -> None:
    (orin_nano / "etc/nvpmodel.conf").write_text("< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n")
    assert seen(orin_nano)["power mode"].status == "ok"


@pytest.mark.parametrize(
    ("revision", "status", "words"),
    [
        ("R35 (release), REVISION: 4.1", "warn", "JetPack 5.x, L4T 35.4.1: too old"),
        ("R36 (release), REVISION: 3.0", "warn", "JetPack 6.0, L4T 36.3.0: too old"),
        ("R36 (release), REVISION: 4.0", "ok", "JetPack 6.1"),
        ("R36 (release), REVISION: 4", "ok", "JetPack 6.1"),
        ("R39 (release), REVISION: 9.9", "ok", "JetPack 7.x, L4T 39.9.9"),
        ("R50 (release), REVISION: 1.0", "ok", "JetPack of unknown version"),
        ("", "warn", "its release cannot be read"),
    ],
)
def test_releases(revision: str, status: str, words: str, orin_nano: Path) -> None:
    (orin_nano / "etc/nv_tegra_release").write_text(f"# {revision}, GCID: 1\n")
    found = seen(orin_nano)["jetpack"]
    assert (found.status, words in found.detail) == (status, True), found
    assert found.stops == (("tensorrt",) if "too old" in words else ())


def test_a_container_sees_less(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("5.15.148-tegra\n")
    found = seen(tmp_path)
    assert {name: finding.status for name, finding in found.items()} == dict.fromkeys(
        ("jetpack", "power mode", "clocks"), "warn"
    )
    assert "-v /etc/nv_tegra_release" in found["jetpack"].mend


def test_another_machine_is_one_line(tmp_path: Path) -> None:
    assert [(finding.name, finding.status) for finding in look_at_jetson(tmp_path)] == [("jetson", "ok")]
