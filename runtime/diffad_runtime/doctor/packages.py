"""Where an installed package comes from: the system's packages, or a wheel that pip put before them.

Knows folders and metadata. Loads no package.

JetPack installs TensorRT and OpenCV by apt below /usr/lib/python3; whatever pip installs, in a virtual environment, for
a user or with sudo below /usr/local, comes earlier on the path and hides it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

_SYSTEM = re.compile(r"^/usr/lib/python3(\.\d+)?/")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A distribution that is not of the system.

    Attributes:
        name: as pip knows it.
        version: of it.
        folder: that it lies in.
    """

    name: str
    version: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.name} {self.version} in {self.folder}"


def of_system(file: str | Path) -> bool:
    """Whether apt put this file there."""
    return _SYSTEM.match(str(file)) is not None


def wheels(names: re.Pattern[str], path: Sequence[str] | None = None) -> list[Wheel]:
    """Distributions that pip installed, by name.

    Args:
        names: of distributions, matched whole, after "_" and "." became "-" and capitals small letters.
        path: folders to look in; None: those of this Python.
    """
    found: dict[tuple[str, Path], Wheel] = {}
    for distribution in distributions() if path is None else distributions(path=list(path)):
        if "Name" not in distribution.metadata:  # the remains of an installation that failed
            continue
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        folder = Path(str(distribution.locate_file("")))
        if names.fullmatch(name) and not of_system(folder / "x"):
            found.setdefault((name, folder), Wheel(name, distribution.version, folder))
    return sorted(found.values(), key=lambda wheel: wheel.name)


def version_of(distribution: str) -> str:
    """As its metadata say it; "" where it is not installed."""
    try:
        return version(distribution) or ""
    except PackageNotFoundError:
        return ""


def uninstall(found: Sequence[Wheel]) -> str:
    """The command that takes these wheels away."""
    names = " ".join(dict.fromkeys(wheel.name for wheel in found))
    return f"pip uninstall -y {names}"
