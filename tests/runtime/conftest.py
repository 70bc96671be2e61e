"""Root folders of made Jetsons, with the files that L4T and its kernel keep there."""

from collections.abc import Mapping
from pathlib import Path

import pytest

RELEASE = (
    "# R{} (release), REVISION: {}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root


def _cpu(policy: int, current: int, least: int, most: int) -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpufreq/policy{policy}"
    figures = {"scaling_cur_freq": current, "scaling_min_freq": least, "scaling_max_freq": most}
    return {f"{folder}/{name}": f"{value}\n" for name, value in figures.items()}


@pytest.fixture
def orin_nano(tmp_path: Path) -> Path:
    """An Orin Nano 8 GB with JetPack 6.2 in its 15 W mode, clocks as they are after a start."""
    gpu = "sys/class/devfreq/17000000.gpu"
    return write(
        tmp_path / "orin-nano",
        {
            "etc/nv_tegra_release": RELEASE.format(36, "4.3"),
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
            "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
            "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
            "proc/meminfo": "MemTotal:        7802104 kB\nMemAvailable:    5242880 kB\nSwapFree:        3901040 kB\n"
            "HugePages_Total:       0\n",
            "proc/cpuinfo": "Features\t: fp asimd evtstrm aes atomics asimdrdm asimddp\n",
            "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0\nGCC\n",
            "var/lib/nvpmodel/status": "pmode:0000 fmode:quiet\n",
            "etc/nvpmodel.conf": "# < POWER_MODEL ID=9 NAME=MAXN_NO >\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE 1\n"
            "< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n< POWER_MODEL ID=3 NAME=7W >\n"
            "< PM_CONFIG DEFAULT=1 >\n",
            f"{gpu}/cur_freq": "306000000\n",
            f"{gpu}/min_freq": "306000000\n",
            f"{gpu}/max_freq": "612000000\n",
            "sys/class/devfreq/15340000.vic/cur_freq": "115200000\n",
            "sys/class/devfreq/15340000.vic/min_freq": "115200000\n",
            "sys/class/devfreq/15340000.vic/max_freq": "435200000\n",
            **_cpu(0, 729600, 729600, 1510400),
            **_cpu(4, 1510400, 729600, 1510400),
            "dev/nvmap": "",
            "dev/nvgpu/igpu0/ctrl": "",
            "dev/video0": "",
            "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.68"}}',
            "usr/local/cuda/bin/nvcc": "",
            "usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstnvarguscamerasrc.so": "",
            "tmp/argus_socket": "",
        },
    )


@pytest.fixture
def thor(tmp_path: Path) -> Path:
    """An AGX Thor with JetPack 7.0, without a limit and with its clocks pinned."""
    gpu = "sys/class/devfreq/gpu-gpc-0"
    return write(
        tmp_path / "thor",
        {
            "etc/nv_tegra_release": RELEASE.format(38, "2.0"),
            "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,tegra264\0",
            "proc/meminfo": "MemTotal:      128721404 kB\nMemAvailable:  120586240 kB\n",
            "var/lib/nvpmodel/status": "pmode:0000\n",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n",
            **{f"{gpu}/{name}": "1575000000\n" for name in ("cur_freq", "min_freq", "max_freq")},
            **_cpu(0, 2601000, 2601000, 2601000),
            "dev/nvidia0": "",
            "dev/nvidiactl": "",
        },
    )
