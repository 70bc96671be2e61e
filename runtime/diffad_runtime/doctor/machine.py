"""Python, environment, processor, memory, disk and cache folder.

Knows what the product wants of any machine, and how much more of a Jetson. Does not know engines or cameras.
"""

import os
import platform
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diffad_runtime.doctor.finding import Finding, ok, warn
from diffad_runtime.enginecache.location import cache_folder
from diffad_runtime.jetson import generation_of, is_jetson, l4t_release

_GIB = 1 << 30
_JETPACK_PYTHON = {6: (3, 10), 7: (3, 12)}
_SYSTEM_PYTHON = "make the environment with /usr/bin/python3 -m venv --system-site-packages"


def look_at_python(root: Path) -> Iterator[Finding]:
    """Its version, and whether it sees JetPack's packages."""
    found = f"{platform.python_version()}, {sys.executable}"
    own = _JETPACK_PYTHON.get(generation_of(l4t_release(root)))
    if own and sys.version_info[:2] != own:
        yield warn(
            "python",
            f"{found}; JetPack's packages are made for {own[0]}.{own[1]}",
            f"TensorRT and OpenCV of JetPack load into no other Python: {_SYSTEM_PYTHON}",
        )
    else:
        yield ok("python", found)
    if is_jetson(root):
        yield environment(Path(sys.prefix), Path(sys.base_prefix))


def environment(prefix: Path, base: Path) -> Finding:
    """A virtual environment on a Jetson: whether system packages can be seen from within."""
    name = "virtual environment"
    hidden = f"JetPack installs TensorRT and OpenCV as system packages: {_SYSTEM_PYTHON}"
    if (prefix / "conda-meta").is_dir():
        return warn(name, f"{prefix} is one of conda, system packages are hidden", hidden)
    if prefix == base:
        return ok(name, f"none, packages of {prefix}")
    settings = dict(_pair(line) for line in _text(prefix / "pyvenv.cfg").lower().splitlines())
    if settings.get("include-system-site-packages") == "true":
        return ok(name, f"{prefix}, system packages visible")
    return warn(name, f"{prefix}, system packages hidden", hidden)


def look_at_processor(root: Path) -> Iterator[Finding]:
    """Cores, and instructions for INT8."""
    flags = set(_text(root / "proc/cpuinfo").lower().split())
    dot_product = sorted(flags & {"avx512_vnni", "avx_vnni", "asimddp", "i8mm"})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{platform.machine()}, {cores} usable cores, INT8 dot products: {', '.join(dot_product) or 'none found'}"
    if dot_product:
        yield ok("processor", found)
    else:
        yield warn("processor", found, "INT8 may be no faster than FP32 on this CPU: compare with 'diffad-edge bench'")


def look_at_memory(root: Path) -> Iterator[Finding]:
    """What is free. The GPU of a Jetson has no other memory."""
    pairs = map(_pair, _text(root / "proc/meminfo").splitlines())
    kib = {name: int(value[:-2]) for name, value in pairs if value.endswith("kB") and value[:-2].strip().isdecimal()}
    if not {"MemAvailable", "MemTotal"} <= kib.keys():
        yield warn("memory", "cannot be read on this system", "Check that 1 GiB is free")
        return
    gib = {name: value / (1 << 20) for name, value in kib.items()}
    found = f"{gib['MemAvailable']:.1f} of {gib['MemTotal']:.1f} GiB free, {gib.get('SwapFree', 0):.1f} GiB of swap"
    if is_jetson(root) and gib["MemAvailable"] < 2:
        yield warn(
            "memory",
            f"{found}; the GPU shares it",
            "Building engines may take 2 GiB: stop the desktop (sudo systemctl isolate multi-user.target) and other "
            "programs, or add swap on a disk",
        )
    elif gib["MemAvailable"] < 1:
        yield warn("memory", found, "Close other programs: 1 GiB should be free")
    else:
        yield ok("memory", found)


def look_at_disk(_: Path) -> Iterator[Finding]:
    """Room for what is written, and a folder for engines."""
    try:
        folder = Path.cwd()
        free = shutil.disk_usage(folder).free / _GIB
    except OSError as error:
        yield warn("disk", f"the working folder cannot be read: {error.strerror}", "Change to a folder that exists")
    else:
        found = f"{free:.1f} GiB free in {folder}"
        room = "Make room: 2 GiB should be free for masks and checkpoints"
        yield ok("disk", found) if free >= 2 else warn("disk", found, room)
    yield cache()


def cache() -> Finding:
    """Whether engines can be kept between starts; really tried, as permission bits do not tell of all that forbids."""
    name = "cache folder"
    mend = "Set XDG_CACHE_HOME to a folder that only you may write to, or name one with --cache; else TensorRT engines "
    mend += "are built again after every start of the machine"
    folder = cache_folder()
    if folder.parent == Path(tempfile.gettempdir()):
        return warn(name, f"this user has no home folder, so engines go to {folder}", mend)
    try:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
        engines = folder / "engines"
        status = engines.stat() if engines.exists() else None
        free = shutil.disk_usage(existing).free / _GIB
    except OSError as error:
        return warn(name, f"{folder} cannot be written to: {error.strerror or error}", mend)
    if status is not None and (
        status.st_uid not in {os.geteuid(), 0} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        # An engine is native code: from a folder that others may write to none is loaded.
        return warn(name, f"{engines} may be written to by others, so it is not used", mend)
    if free < 1:
        return warn(name, f"{folder}, {free:.1f} GiB free", "Make room: engines and their builds may take 1 GiB")
    return ok(name, f"{folder}, writable, {free:.1f} GiB free")


def _pair(line: str) -> tuple[str, str]:
    """ "name: value" or "name = value" as two texts."""
    name, _, value = line.replace("=", ":", 1).partition(":")
    return name.strip(), value.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
