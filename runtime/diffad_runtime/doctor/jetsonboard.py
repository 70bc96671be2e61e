"""A Jetson's software, power mode and clocks.

Knows which are good ones. Where they are read from is jetson.py's. Says one line on any other machine.
"""

from collections.abc import Iterator
from pathlib import Path

from diffad_runtime.doctor.finding import Finding, ok, warn
from diffad_runtime.jetson import Clock, board, clocks, generation_of, is_jetson, jetpack_of, l4t_release, power_mode

OLDEST_L4T = (36, 4)
"""JetPack 6.1's, the first with TensorRT 10.3."""


def look_at_jetson(root: Path) -> Iterator[Finding]:
    """JetPack and L4T, then power mode and clocks."""
    if not is_jetson(root):
        yield ok("jetson", "this is none")
        return
    yield _jetpack(root)
    yield _power_mode(root)
    yield _clocks(root)


def _jetpack(root: Path) -> Finding:
    l4t, model = l4t_release(root), board(root) or "a Jetson of unknown model"
    if not l4t:
        return warn(
            "jetpack",
            f"{model}; its release cannot be read from /etc/nv_tegra_release",
            "In a container, mount it: -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro. Engines are kept apart by it",
        )
    jetpack = jetpack_of(l4t) or (f"{generation}.x" if (generation := generation_of(l4t)) else "of unknown version")
    found = f"{model}, JetPack {jetpack}, L4T {l4t}"
    if tuple(int(number) for number in l4t.split(".")) < OLDEST_L4T:
        return warn(
            "jetpack", f"{found}: too old for TensorRT 10.3", "Install JetPack 6.1 or later", stops=("tensorrt",)
        )
    return ok("jetpack", found)


def _power_mode(root: Path) -> Finding:
    mode = power_mode(root)
    if mode is None:
        return warn("power mode", "cannot be read from /var/lib/nvpmodel/status", "Ask with: sudo nvpmodel -q")
    found = f"{mode.name or 'unnamed'} (mode {mode.number})"
    if mode.number == mode.fastest:
        return ok("power mode", found)
    return warn(
        "power mode",
        f"{found}; {mode.fastest_name} (mode {mode.fastest}) is faster",
        f"Where cooling and supply allow it: sudo nvpmodel -m {mode.fastest}, which may ask to restart the board",
    )


def _clocks(root: Path) -> Finding:
    found = clocks(root)
    if not any(clock.name == "GPU" for clock in found):
        return warn("clocks", "those of the GPU cannot be read", "Ask with: sudo jetson_clocks --show")
    said = ", ".join(_said(clock) for clock in _distinct(found))
    if all(clock.pinned for clock in found):
        return ok("clocks", f"pinned: {said}")
    return warn(
        "clocks",
        f"not pinned: {said}",
        "They go down between frames and latencies jump: sudo jetson_clocks, at every start of the machine "
        "(docs/jetson.md has a unit for it)",
    )


def _said(clock: Clock) -> str:
    return f"{clock.name} {clock.current_mhz:.0f} of {clock.most_mhz:.0f} MHz"


def _distinct(found: tuple[Clock, ...]) -> list[Clock]:
    """The first GPU, and the CPU clock that is furthest below its most: twelve cores make a long line."""
    gpu = [clock for clock in found if clock.name == "GPU"][:1]
    cpu = sorted(
        (clock for clock in found if clock.name != "GPU"), key=lambda clock: clock.current_mhz - clock.most_mhz
    )
    return gpu + cpu[:1]
