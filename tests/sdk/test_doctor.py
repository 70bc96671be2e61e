"""`diffad-edge doctor --backend`: findings, one line at the end, and the exit code."""

import json
import subprocess
import sys

import pytest

from diffad_edge.cli.doctorview import leave
from diffad_runtime.doctor.finding import fail, ok, warn
from diffad_runtime.errors import EngineError

# As where the packages are not installed: find_spec finds nothing, an import says so.
WITHOUT_GPU = """
import sys
for name in ("tensorrt", "pycuda"):
    sys.modules[name] = None
from diffad_edge.cli import main
sys.argv = ["diffad-edge", "doctor", *sys.argv[1:]]
main()
"""


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_GPU, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("backend", [(), ("--backend", "auto"), ("--backend", "onnxruntime")])
def test_a_cpu_does_without_tensorrt(backend: tuple[str, ...]) -> None:
    done = doctor(*backend)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warn  tensorrt" in done.stdout
    assert "The product runs here" in done.stdout


def test_the_tensorrt_backend_does_not() -> None:
    done = doctor("--backend", "tensorrt")
    assert done.returncode == 1
    assert "fail  tensorrt" in done.stdout
    assert "fail  pycuda" in done.stdout
    assert done.stderr.startswith("error: the backend tensorrt does not run here: tensorrt: TensorRT is not installed")
    assert "sudo apt install python3-libnvinfer" in done.stderr
    assert done.stderr.count("\n") == 1


def test_json_says_the_same() -> None:
    done = doctor("--backend", "tensorrt", "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["ok"]) == (1, False)
    failed = [finding["name"] for finding in record["findings"] if finding["status"] == "fail"]
    assert {"tensorrt", "pycuda"} <= set(failed)


def test_a_gpu_provider_that_onnxruntime_lacks() -> None:
    done = doctor("--backend", "onnxruntime-tensorrt")
    assert done.returncode == 1
    assert "onnxruntime-gpu" in done.stderr


def test_the_first_failure_and_the_names_of_the_others() -> None:
    leave([ok("a", "fine"), warn("b", "slow", "Make it fast")], "auto")
    findings = [ok("a", "fine"), fail("b", "gone", "Get b"), fail("c", "gone too", "Get c")]
    with pytest.raises(EngineError) as raised:
        leave(findings, "auto")
    assert str(raised.value) == "the product does not run here: b: gone (then c). Get b."
