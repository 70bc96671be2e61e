"""What the system tells of itself: temperatures, space on disks, threads and open files of this process.

Knows the kernel's files. Does not know which figures are good ones. What cannot be read is left out; nothing raises.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_MOST_ZONES = 64
# A sensor that is off says -256 or another figure that no board survives.
_BELIEVED_C = (-60.0, 200.0)


@dataclass(frozen=True, slots=True)
class Temperature:
    """One sensor: the kernel's zone, as in "thermal_zone0", what it measures, as in "gpu-thermal", and degrees."""

    zone: str
    kind: str
    celsius: float


@dataclass(frozen=True, slots=True)
class Disk:
    """Space of the file system that a folder lies on, bytes. `free`: for those who are not root."""

    folder: str
    free: int
    size: int


def temperatures(root: Path = _ROOT) -> tuple[Temperature, ...]:
    """All that the kernel's thermal zones give now; empty where there are none, as in most virtual machines."""
    folder = root / "sys/class/thermal"
    try:
        zones = sorted(zone for zone in folder.iterdir() if zone.name.startswith("thermal_zone"))
    except OSError:
        return ()
    found = []
    for zone in zones[:_MOST_ZONES]:
        try:
            kind = (zone / "type").read_text(errors="replace").strip()
            celsius = int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):  # Jetson's zones of parts that are switched off give EAGAIN
            continue
        if _BELIEVED_C[0] < celsius < _BELIEVED_C[1]:
            found.append(Temperature(zone.name, kind, celsius))
    return tuple(found)


def disk(folder: Path) -> Disk | None:
    """Of the folder, or of the nearest one above it that is there; None where the system does not say."""
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            figures = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        name = str(folder).encode(errors="replace").decode()  # a name's stray bytes are no Unicode
        return Disk(name, figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize)
    return None


def threads(root: Path = _ROOT) -> int | None:
    """Of this process, those of its libraries too; None where the system does not say."""
    try:
        lines = (root / "proc/self/status").read_text(errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Threads:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
