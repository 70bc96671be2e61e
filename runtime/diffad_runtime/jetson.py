"""Facts of a Jetson: which one, its software, its power mode and its clocks.

Knows the files that L4T (NVIDIA's Linux for it) and the kernel keep for every user to read. Does not know whether the
facts are good ones (doctor/jetsonboard.py), and needs no package of NVIDIA's, no command and no right of root. What
cannot be read is "", None or empty; nothing here raises.

Every function takes the root of the file system, for tests; a board's own is "/".

Sources: NVIDIA's JetPack archive for the table of releases; the layout of the files as their owners show it in issues
of jetson_stats. Orin's GPU is 17000000.gpu in devfreq, Thor's is gpu-gpc-0.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_RELEASE = re.compile(r"R(\d+)\s*\(release\)\s*,\s*REVISION:\s*(\d+(?:\.\d+)*)")
_STATUS = re.compile(r"pmode:\s*(\d+)")
_MODES = re.compile(r"^\s*<\s*POWER_MODEL\s+ID\s*=\s*(\d+)\s+NAME\s*=\s*([^\s>]+)", re.MULTILINE)
_WATTS = re.compile(r"(\d+)\s*W", re.IGNORECASE)
_ROOT = Path("/")

_JETPACK = {
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "36.5.2": "6.2.3",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
_GENERATION = {35: 5, 36: 6, 38: 7, 39: 7}


@dataclass(frozen=True, slots=True)
class PowerMode:
    """What nvpmodel allows the board to draw.

    Attributes:
        number: as in `nvpmodel -m NUMBER`.
        name: as in "25W" or "MAXN_SUPER"; "" where the modes' names cannot be read.
        fastest: number of the mode without a limit or with the highest; `number` where no other is known.
        fastest_name: its name.
    """

    number: int
    name: str
    fastest: int
    fastest_name: str


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that the kernel scales.

    Attributes:
        name: "GPU", or "CPU 0" for the cores from 0 that share it.
        current_mhz: now.
        least_mhz: that the kernel may go down to when there is little to do.
        most_mhz: that the power mode lets it go up to.
    """

    name: str
    current_mhz: float
    least_mhz: float
    most_mhz: float

    @property
    def pinned(self) -> bool:
        """Held at the most, as by jetson_clocks: the kernel may not go lower."""
        return self.least_mhz >= self.most_mhz


def is_jetson(root: Path = _ROOT) -> bool:
    """Whether this is a Jetson, also from inside a container, which sees neither its release nor its device tree."""
    return bool(
        l4t_release(root)
        or "nvidia,tegra" in _text(root / "proc/device-tree/compatible")
        or _text(root / "proc/sys/kernel/osrelease").strip().endswith("-tegra")
    )


def l4t_release(root: Path = _ROOT) -> str:
    """As in "36.4.3"; "" where this is no Jetson or the file cannot be read."""
    found = _RELEASE.search(_text(root / "etc/nv_tegra_release"))
    return f"{found[1]}.{found[2]}" if found else ""


def jetpack_of(l4t: str) -> str:
    """JetPack's version for a release of L4T, as in "6.2" for "36.4.3"; "" for one that is not in the table."""
    numbers = l4t.split(".")
    return _JETPACK.get(".".join([*numbers, "0"][:3]), "") if 2 <= len(numbers) <= 3 else ""


def generation_of(l4t: str) -> int:
    """JetPack's first number, 6 for every "36.x", also those that the table lacks; 0 where unknown."""
    first = l4t.partition(".")[0]
    return _GENERATION.get(int(first), 0) if first.isdecimal() else 0


def board(root: Path = _ROOT) -> str:
    """As the device tree names it, as in "NVIDIA Jetson Orin Nano Developer Kit"; "" where there is none."""
    return _text(root / "proc/device-tree/model").strip()


def power_mode(root: Path = _ROOT) -> PowerMode | None:
    """The mode that nvpmodel set last; None where it keeps none."""
    status = _STATUS.search(_text(root / "var/lib/nvpmodel/status"))
    if not status:
        return None
    number = int(status[1])
    names = {int(each): name for each, name in _MODES.findall(_text(root / "etc/nvpmodel.conf"))}
    fastest = max(names, key=lambda each: _limit(names[each]), default=number)
    if names and _limit(names.get(number, "")) >= _limit(names[fastest]):
        fastest = number
    return PowerMode(number, names.get(number, ""), fastest, names.get(fastest, ""))


def clocks(root: Path = _ROOT) -> tuple[Clock, ...]:
    """Those of the GPU, then those of the CPU; empty where the kernel does not tell."""
    gpus = sorted(
        folder
        for folder in _entries(root / "sys/class/devfreq")
        if folder.name.endswith((".gpu", ".ga10b", ".gv11b")) or folder.name.startswith("gpu-gpc-")
    )
    cores = sorted(
        (folder for folder in _entries(root / "sys/devices/system/cpu/cpufreq") if folder.name[6:].isdecimal()),
        key=lambda folder: int(folder.name[6:]),
    )
    found = [_clock("GPU", folder, ("cur_freq", "min_freq", "max_freq"), 1e6) for folder in gpus]
    for folder in cores:
        scaling = ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq")
        found.append(_clock(f"CPU {folder.name[6:]}", folder, scaling, 1e3))
    return tuple(clock for clock in found if clock is not None)


def _clock(name: str, folder: Path, files: tuple[str, str, str], per_mhz: float) -> Clock | None:
    texts = [_text(folder / file).strip() for file in files]
    if not all(text.isdecimal() for text in texts):
        return None
    current, least, most = (int(text) / per_mhz for text in texts)
    return Clock(name, current, least, most)


def _limit(name: str) -> float:
    """Watts by a mode's name. NVIDIA numbers the modes in no order, and calls the one without a limit MAXN."""
    if "MAXN" in name.upper():
        return float("inf")
    watts = _WATTS.search(name)
    return float(watts[1]) if watts else 0.0


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    """A small file's text without the NUL that ends those of a device tree; "" where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""
