"""How a process ends that used a GPU, whatever it forgot: with its own exit code, and nothing on stderr."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import diffad_runtime

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

OPEN = """
import sys, threading, time, weakref
from diffad_runtime.cuda.gpu import open_gpu, release
import copying

def check(engine, number):
    image = copying.frame(number)
    assert (engine.infer(image).anomaly == copying.expected(image)[0]).all()

def opened():
    global gpu, engine, networks
    gpu = open_gpu()
    engine, networks = copying.open_copying(gpu)
    check(engine, 0)

def on_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""

# TensorRT's objects must go while the context is there: a network that is closed asks the driver for something.
ASKS = """
import ctypes
def close(self):
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    print(ctypes.CDLL("libcuda.so.1").cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), flush=True)
copying.Copying.close = close
"""

FINALIZER = "import weakref\nclass Other: pass\nother = Other()\nweakref.finalize(other, int)\n"

DAEMON = """
opened()
def judge():
    while True:
        engine.infer(copying.frame(0))
threading.Thread(target=judge, daemon=True).start()
time.sleep(0.05)
"""

PROGRAMS = {
    "closes": "opened(); engine.close()",
    "forgets to close": "opened()",
    "nothing but the GPU": "open_gpu()",
    "opened on a thread": "on_thread(opened); check(engine, 1); engine.close()",
    "opened on a thread and forgotten": "on_thread(opened); check(engine, 1)",
    "closed on a thread": "opened(); on_thread(engine.close)",
    "exits with the context current": "opened()\nwith gpu.current(): sys.exit(0)",
    "gives the GPU back and opens it again": "opened(); engine.close(); release(); opened(); engine.close()",
    "gives the GPU back and forgets the engine": "opened(); release()",
}


def run(program: str, first: str = "") -> subprocess.CompletedProcess[str]:
    path = [str(Path(diffad_runtime.__file__).parents[1]), str(Path(__file__).parent)]
    path += filter(None, [os.environ.get("PYTHONPATH")])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    return subprocess.run(
        [sys.executable, "-c", first + OPEN + program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_ends_well(name: str) -> None:
    done = run(PROGRAMS[name])
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_is_all_that_is_seen() -> None:
    done = run("opened(); raise SystemExit(3)")
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("first", ["", FINALIZER])
def test_what_is_forgotten_goes_before_its_context(first: str) -> None:
    """Also where something else in the process asked for a finalizer first: those run together."""
    done = run(ASKS + "opened()", first)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n0\n", "")


def test_a_daemon_thread_that_judges_to_the_end() -> None:
    """It may be told that the engine is closed, and nothing worse."""
    for _ in range(10):
        done = run(DAEMON)
        assert done.returncode == 0, done.stderr
        assert (
            done.stderr.strip().endswith("EngineError: the engine is closed. Open the bundle again.") or not done.stderr
        )
