"""The tests of this folder that need no TensorRT, under the real pycuda and cuda-bindings and the simulated driver.

The driver (driver/) is compiled here, and put where these packages look for the real one, in a process of its own.
"""

import os
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

HERE = Path(__file__).parent

NONE_LEFT = "0 device, 0 pinned, 0 streams, 0 events, 0 graphs, "


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated libcuda.so.1."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: sudo apt install gcc")
    made = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    sources = [str(HERE / "driver" / name) for name in ("contexts.c", "memory.c", "work.c")]
    flags = ["-std=gnu11", "-O1", "-Wall", "-shared", "-fPIC", "-pthread", f"-Wl,-soname,{made.name}"]
    subprocess.run([compiler, *flags, "-o", str(made), *sources, "-ldl"], check=True)
    return made


def under(library: Path, tmp_path: Path, arguments: list[str], **variables: str) -> tuple[int, str, str]:
    """(Exit code, what was printed, what the driver says was left) of a Python process with the simulated driver."""
    report = tmp_path / "report"
    environment = os.environ | variables | {"SIM_CUDA_REPORT": str(report), "PYTHONPATH": os.pathsep.join(sys.path)}
    searched = [str(library.parent), os.environ.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, searched))
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr, report.read_text() if report.exists() else ""


def installed(package: str) -> bool:
    """As a process of its own finds it: what other tests left in sys.modules does not count."""
    places = None
    for number in range(1, len(package.split(".")) + 1):
        found = PathFinder.find_spec(".".join(package.split(".")[:number]), places)
        if found is None:
            return False
        places = list(found.submodule_search_locations or ())
    return True


@pytest.mark.parametrize("integrated", ["0", "1"])
@pytest.mark.parametrize("name", ["test_recording", "test_cuda", "test_engine", "test_exit", "test_faults"])
def test_the_tests_pass(library: Path, tmp_path: Path, name: str, integrated: str) -> None:
    needs = ["cuda.bindings"] if name == "test_recording" else ["pycuda", "cuda.bindings"]
    for package in needs:
        if not installed(package):
            pytest.skip(f"no {package}")
    pytest_ = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", str(HERE / f"{name}.py")]
    # The CUDA of JetPack 6: what pip installs there is made for a later one.
    code, said, left = under(library, tmp_path, pytest_, SIM_CUDA_INTEGRATED=integrated, SIM_CUDA_VERSION="12060")
    assert code == 0, said
    assert " passed" in said
    if name != "test_faults":  # its last test leaves a driver that refuses to free anything
        assert left.startswith(NONE_LEFT), left
        assert "SKIPPED" not in said, said


START = """
import ctypes
driver = ctypes.CDLL("libcuda.so.1")
word, address = ctypes.c_size_t, ctypes.c_uint64
def call(name, *arguments):
    return getattr(driver, name)(*arguments)
def made(name, *arguments):
    value = address()
    assert call(name, ctypes.byref(value), *arguments) == 0
    return value
assert call("cuInit", 0) == 0
context = made("cuDevicePrimaryCtxRetain", 0)
assert call("cuCtxPushCurrent_v2", context) == 0
stream, memory, pinned = made("cuStreamCreate", 0), made("cuMemAlloc_v2", word(64)), made("cuMemHostAlloc", word(64), 0)
host = (ctypes.c_uint8 * 64).from_address(pinned.value)
def fill(value):
    assert call("cuMemsetD8Async", memory, value, word(64), stream) == 0
    assert call("cuMemcpyDtoHAsync_v2", pinned, memory, word(64), stream) == 0
def wait():
    assert call("cuStreamSynchronize", stream) == 0
"""

MISUSED = {
    "used after it was freed": "call('cuMemFree_v2', memory); fill(1)",
    "freed twice": "call('cuMemFree_v2', memory); call('cuMemFree_v2', memory)",
    "freed while work on it is enqueued": "fill(1); call('cuMemFree_v2', memory)",
    "past the end": "call('cuMemsetD8Async', memory, 1, word(65), stream)",
    "is no address of the GPU": "call('cuMemsetD8Async', pinned, 1, word(64), stream)",
    "from memory that is not pinned": "call('cuMemcpyHtoDAsync_v2', memory, (ctypes.c_uint8 * 64)(), word(64), stream)",
    "stream is destroyed while work": "fill(1); call('cuStreamDestroy_v2', stream)",
    "the stream is destroyed": "call('cuStreamDestroy_v2', stream); wait()",
    "context ends while work": "fill(1); call('cuDevicePrimaryCtxRelease_v2', 0)",
    "destroyed while it captures": "call('cuStreamBeginCapture_v2', stream, 1); call('cuStreamDestroy_v2', stream)",
}


@pytest.mark.parametrize("message", MISUSED)
def test_misuse_ends_the_process(library: Path, tmp_path: Path, message: str) -> None:
    code, said, _ = under(library, tmp_path, ["-c", START + MISUSED[message]])
    assert code == -6, said
    assert message in said


@pytest.mark.parametrize(
    "program",
    [
        "host[0] = 5; fill(1); assert host[0] == 5; wait(); assert list(host) == [1] * 64",
        "call('cuCtxPopCurrent_v2', ctypes.byref(address())); assert call('cuMemFree_v2', memory) == 201",
        "call('cuDevicePrimaryCtxRelease_v2', 0); assert call('cuMemFree_v2', memory) == 709",
        "assert call('cuMemAlloc_v2', ctypes.byref(address()), word(1 << 50)) == 2",
        "call('cuStreamBeginCapture_v2', stream, 1); assert call('cuMemFree_v2', memory) == 900; "
        "assert call('cuMemsetD8Async', memory, 1, word(64), stream) == 901; "
        "assert call('cuStreamEndCapture', stream, ctypes.byref(address())) == 901; fill(3); wait()",
    ],
    ids=["work waits", "no context", "context gone", "no memory", "capture lost"],
)
def test_what_the_driver_answers(library: Path, tmp_path: Path, program: str) -> None:
    code, said, left = under(library, tmp_path, ["-c", START + program])
    assert (code, said) == (0, "")
    assert left.endswith("pushed\n")


def test_what_was_not_given_back_is_told(library: Path, tmp_path: Path) -> None:
    _, _, left = under(library, tmp_path, ["-c", START])
    assert left == "1 device, 1 pinned, 1 streams, 0 events, 0 graphs, 1 context references, 1 pushed\n"


def test_the_host_cannot_follow_an_address_of_the_gpu(library: Path, tmp_path: Path) -> None:
    code, _, _ = under(library, tmp_path, ["-c", START + "ctypes.string_at(memory.value, 1)"])
    assert code == -11
