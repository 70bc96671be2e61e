"""What goes wrong with engines on a device, what the user sees, and what is left: one table, each line really run.

    python docs/device_faults.py model.diffad
    python docs/device_faults.py model.diffad --json

The commands are the real ones, in processes of their own. TensorRT and the GPU are the simulator of tests/simulated,
whose engines compute with ONNX Runtime: no GPU is needed, and none is measured. The full disk is a tmpfs, which only
root can mount; without, that line is left out.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIMULATED = """
import sys
sys.path.insert(0, {path!r})
from cudasim import Machine
from diffad_edge.cli import main
machine = Machine({machine})
{faults}
sys.argv = ["diffad-edge", *{arguments!r}]
with machine.installed(tensorrt={tensorrt}):
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code or 0
machine.assert_clean()
raise SystemExit(code)
"""
RUN = ("run", "BUNDLE", "--camera", "synthetic://line?fps=0&count=3", "--backend", "tensorrt", "--cache", "CACHE")
BUILD = ("build", "BUNDLE", "--cache", "CACHE")
RUN_ONE, BUILD_ONE = (*RUN, "--variant", "fp16"), (*BUILD, "--variant", "fp16")


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong.

    Attributes:
        name: for the table.
        command: of diffad-edge; BUNDLE and CACHE stand for paths.
        faults: code that tells the machine what to do wrong.
        machine: how it is made.
        harm: done to a cache folder in which engines of variant fp16 were built before.
        full: the cache lies on a small disk that is full.
        tensorrt: installed at all.
    """

    name: str
    command: tuple[str, ...]
    faults: str = ""
    machine: str = ""
    harm: Callable[[Path], None] | None = None
    full: bool = False
    tensorrt: bool = True


@dataclass(frozen=True)
class Seen:
    """What came of it: exit code, lines on stderr, names of files in the cache."""

    code: int
    lines: list[str]
    left: list[str]


def _plans(cache: Path) -> list[Path]:
    return sorted((cache / "engines").glob("*.plan"))


def truncate(cache: Path) -> None:
    plan = _plans(cache)[0]
    plan.write_bytes(plan.read_bytes()[:-7])


def alter(cache: Path) -> None:
    plan = _plans(cache)[0]
    data = bytearray(plan.read_bytes())
    data[len(data) // 2] ^= 1
    plan.write_bytes(data)


def forbid(cache: Path) -> None:
    """A file where the folder should be: not even root can write into it."""
    for path in sorted(cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    cache.rmdir()
    cache.write_text("")


def fill(cache: Path) -> None:
    with (cache / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))


VERSION = (
    "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion stdVersionRead == "
    "kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 239, Serialized "
    "Engine Version: 240)"
)
MEMORY = "Requested amount of GPU memory (536870912 bytes) could not be allocated."
NODE = '("/unet/mid/Resize", "Resize", "Assertion failed: mode != cubic", "INVALID_NODE")'
NONE = "machine.faults.deserialise_none"
CRASH = "machine.faults.cuda_error_on('Stream.synchronize', sticky=True, after=2)"
LITTLE, TOO_LITTLE = (f"integrated=False, free_memory={mib} << 20" for mib in (700, 300))

FIRST_IS_WRONG = """
first = []
def wrong(graph):
    if len(first) < 2 and graph not in first:
        first.append(graph)
    return graph in first
machine.faults.wrong_numbers(wrong, scale=3.0)
"""
"""Both graphs of the variant that is tried first."""

CASES = (
    Case("no TensorRT on this machine", BUILD, tensorrt=False),
    Case("no GPU answers", BUILD, faults="machine.faults.no_gpu()"),
    Case("engine of another TensorRT under our name", RUN_ONE, faults=f"{NONE}(1, [{VERSION!r}])", harm=lambda _: None),
    Case("TensorRT was updated", RUN_ONE, machine='tensorrt_version="10.7.0"', harm=lambda _: None),
    Case("truncated engine", RUN_ONE, harm=truncate),
    Case("one bit of an engine changed", RUN_ONE, harm=alter),
    Case("TensorRT takes back no engine at all", RUN_ONE, faults=f"{NONE}(-1, ['Magic tag does not match'])"),
    Case("cache cannot be written to", RUN_ONE, harm=forbid),
    Case("disk full while `run` keeps an engine", RUN_ONE, full=True),
    Case("disk full while `build` keeps an engine", BUILD_ONE, full=True),
    Case("parser error", BUILD_ONE, faults=f"machine.faults.parser_errors([{NODE}])"),
    Case("builder out of memory", BUILD_ONE, faults=f"machine.faults.build_fails([{MEMORY!r}], -1)", machine=LITTLE),
    Case("too little memory to begin", BUILD_ONE, machine=TOO_LITTLE),
    Case("Ctrl-C while building", BUILD_ONE, faults="machine.faults.cancel_after(9)"),
    Case("an engine judges otherwise than torch", RUN, faults=FIRST_IS_WRONG),
    Case("a kernel crashes at the start", RUN_ONE, faults=CRASH),
)


def see(case: Case, bundle: Path) -> Seen:
    """Run it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        cache, kept = folder / "cache", folder / "tmp"
        kept.mkdir()
        cache.mkdir(mode=0o700)
        if case.full:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", cache], check=True)
        try:
            if case.full:
                fill(cache)
            if case.harm is not None:
                _call(BUILD_ONE, Case("", ()), bundle, cache, kept)
                case.harm(cache)
            done = _call(case.command, case, bundle, cache, kept)
            if "Traceback" in done.stderr:
                raise RuntimeError(f"{case.name}: {done.stderr}")
            left = [
                str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.name != "filler"
            ]
        finally:
            if case.full:
                subprocess.run(["umount", cache], check=True)
        lines = [line.replace(str(folder), "") for line in done.stderr.splitlines()]
        return Seen(done.returncode, lines, sorted(left))


def _call(
    command: tuple[str, ...], case: Case, bundle: Path, cache: Path, temporary: Path
) -> "subprocess.CompletedProcess[str]":
    arguments = [{"BUNDLE": str(bundle), "CACHE": str(cache)}.get(word, word) for word in command]
    code = SIMULATED.format(
        path=str(ROOT / "tests" / "simulated"),
        machine=case.machine,
        faults=case.faults,
        arguments=arguments,
        tensorrt=case.tensorrt,
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    cases = [case for case in CASES if not case.full or os.geteuid() == 0]
    seen = {case.name: see(case, asked.bundle) for case in cases}
    if asked.json:
        print(json.dumps({name: vars(one) for name, one in seen.items()}))
        return
    print("| what goes wrong | what the user sees | exit | left in the cache |\n|---|---|---|---|")
    for name, one in seen.items():
        words = "<br>".join(re.sub(r"\|", "\\|", line) for line in one.lines)
        print(f"| {name} | {words} | {one.code} | {left_in_words(one.left)} |")


def left_in_words(names: list[str]) -> str:
    """Engines that can be used, and the rest by name."""
    plans = [name for name in names if name.endswith(".plan") and name.removesuffix(".plan") + ".json" in names]
    known = {*plans, *(name.removesuffix(".plan") + ".json" for name in plans), "building.lock"}
    rest = sorted(Path(name).name for name in names if name not in known and not name.startswith("timings/"))
    return ", ".join([f"{len(plans)} engines", *rest])


if __name__ == "__main__":
    main()
