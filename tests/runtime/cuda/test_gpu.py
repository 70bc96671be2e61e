"""One GPU and its primary context: what is known of it, on which thread it is current, and what lacks say."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cudasim import Machine

from diffad_runtime.cuda import gpu as module
from diffad_runtime.cuda.gpu import GpuFacts, open_gpu, release
from diffad_runtime.errors import EngineError, MissingExtraError


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(integrated=False)
    with made.installed():
        yield made
        made.assert_clean()


@pytest.mark.parametrize(
    ("facts", "known"),
    [
        ({}, GpuFacts("Orin", "8.7", 8, 8 << 30, True, True, "12.6")),
        (
            {"name": "H100", "integrated": False, "compute_capability": (9, 0), "multiprocessors": 132,
             "total_memory": 80 << 30, "cuda_version": (13, 10), "maps_host_memory": False},
            GpuFacts("H100", "9.0", 132, 80 << 30, False, False, "13.10"),
        ),
    ],
)  # fmt: skip
def test_what_is_known_of_it(facts: dict[str, Any], known: GpuFacts) -> None:
    with Machine(**facts).installed():
        assert open_gpu().facts == known


def test_the_whole_process_has_one_and_its_context_is_retained_once(machine: Machine) -> None:
    gpu, found = open_gpu(), []
    threads = [threading.Thread(target=lambda: found.append(open_gpu())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(other is gpu for other in found)
    assert machine.count("init") == machine.count("Device.retain_primary_context") == 1
    assert machine.count("Context.push") == 0  # nothing is left current on whoever opened it


def test_threads_that_open_it_at_once_get_the_same(machine: Machine) -> None:
    barrier, found, take = threading.Barrier(4), [], machine.faults.take_cuda

    def slowly(name: str) -> Any:
        time.sleep(0.002)
        return take(name)

    def work() -> None:
        barrier.wait()
        found.append(open_gpu())

    machine.faults.take_cuda = slowly  # type: ignore[method-assign]
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in found}) == 1
    assert machine.count("Device.retain_primary_context") == 1


def depth(machine: Machine) -> int:
    return len(machine.driver.thread().stack)


def test_it_is_current_within_the_block_alone_and_pushed_once_where_blocks_are_nested(machine: Machine) -> None:
    gpu = open_gpu()
    assert depth(machine) == 0
    with gpu.current():
        assert depth(machine) == 1
        with gpu.current(), gpu.current():
            assert depth(machine) == 1
        assert depth(machine) == 1
    assert depth(machine) == 0
    assert machine.count("Context.push") == machine.count("Context.pop") == 1
    with gpu.current():
        assert depth(machine) == 1
    assert machine.count("Context.push") == machine.count("Context.pop") == 2


def test_an_exception_leaves_the_thread_as_it_was(machine: Machine) -> None:
    gpu = open_gpu()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), gpu.current(), gpu.current():
            raise ZeroDivisionError
        assert depth(machine) == 0
    assert machine.count("Context.push") == 2


def test_every_thread_has_it_current_for_itself(machine: Machine) -> None:
    gpu, depths = open_gpu(), []

    def work() -> None:
        before = depth(machine)
        with gpu.current():
            depths.append((before, depth(machine)))

    with gpu.current():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert depths == [(0, 1)]


def test_a_push_that_fails_leaves_nothing_behind(machine: Machine) -> None:
    gpu = open_gpu()
    machine.faults.cuda_error_on("Context.push", "LogicError")
    with pytest.raises(Exception, match="cuCtxPushCurrent failed"), gpu.current():
        pytest.fail("the block must not run")  # pragma: no cover
    with gpu.current():
        assert depth(machine) == 1


def test_free_memory_of_a_discrete_gpu_is_what_cuda_says(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMINFO", Path("/proc/meminfo"))
    gpu = open_gpu()
    with gpu.current():
        assert gpu.free_bytes() == machine.free_memory
        memory = gpu.cuda.mem_alloc(1 << 20)
        assert gpu.free_bytes() == machine.free_memory - (1 << 20)
        memory.free()


MEMINFO = "MemTotal:        7802104 kB\nMemFree:  100000 kB\nMemAvailable:    5242880 kB\nSwapFree: 1 kB\n"


@pytest.mark.parametrize(
    ("text", "free"), [(MEMINFO, 5 << 30), ("MemTotal: 1 kB\n", None), (None, None), ("MemAvailable: 0 kB\n", None)]
)
def test_free_memory_of_an_integrated_gpu_is_what_the_system_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, free: int | None
) -> None:
    """Where the system does not say, CUDA does."""
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    monkeypatch.setattr(module, "_MEMINFO", tmp_path / "meminfo")
    machine = Machine()
    with machine.installed():
        gpu = open_gpu()
        with gpu.current():
            assert gpu.free_bytes() == (machine.free_memory if free is None else free)
        assert machine.count("mem_get_info") == (free is None)
        machine.assert_clean()


def test_released_it_is_given_back_and_opened_anew_where_it_is_needed(machine: Machine) -> None:
    first = open_gpu()
    release()
    release()
    assert machine.count("Context.detach") == 1
    machine.assert_clean(retained=False)
    assert open_gpu() is not first
    assert machine.count("Device.retain_primary_context") == 2


def test_a_driver_that_is_gone_at_the_end_is_nobodys_error(machine: Machine) -> None:
    open_gpu()
    machine.faults.cuda_error_on("Context.detach", "LogicError")
    release()


def test_without_pycuda() -> None:
    machine = Machine()
    with machine.installed(pycuda=False), pytest.raises(MissingExtraError, match=r"'pycuda'.*diffad-edge\[jetson\]"):
        open_gpu()
    assert machine.calls == []


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("error", [ImportError, OSError])
def test_a_pycuda_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def broken(_: str) -> None:
        raise error("libcurand.so.10: cannot open shared object file:\n  No such file or directory")

    monkeypatch.setattr(module, "import_module", broken)
    with pytest.raises(EngineError, match=r"^pycuda cannot be loaded: libcurand\.so\.10: cannot open .* file: No such"):
        open_gpu()


def test_without_a_driver_or_a_gpu() -> None:
    machine = Machine()
    machine.faults.no_gpu("cuInit failed: no CUDA-capable device is detected")
    with machine.installed(), pytest.raises(EngineError, match="no GPU answers: cuInit failed") as raised:
        open_gpu()
    assert "--runtime nvidia" in raised.value.mend
    with Machine(gpus=0).installed(), pytest.raises(EngineError, match="CUDA finds no GPU"):
        open_gpu()


@pytest.mark.parametrize(
    "name", ["init", "Device.count", "Device", "get_driver_version", "Device.retain_primary_context"]
)
@pytest.mark.parametrize("kind", ["LogicError", "RuntimeError", "MemoryError", "LaunchError"])
def test_a_driver_that_fails_may_work_when_it_is_asked_again(machine: Machine, name: str, kind: str) -> None:
    machine.faults.cuda_error_on(name, kind, "not\nnow")
    with pytest.raises(EngineError, match=r"no GPU answers: .*not now") as raised:
        open_gpu()
    assert raised.value.mend
    assert open_gpu().facts.name == "Orin"
    assert machine.count("Device.retain_primary_context") == 1 + (name == "Device.retain_primary_context")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("text", ["", "out of memory", "words\nover\tlines " * 50])
def test_an_error_of_pycuda_as_one_of_ours(text: str) -> None:
    error = open_gpu().failed("load a thing", KeyError() if not text else ValueError(text))
    assert isinstance(error, EngineError)
    assert str(error).startswith("the GPU failed to load a thing: " + (text.split() or ["KeyError"])[0])
    assert "\n" not in str(error)
    assert len(error.what) < 350
    assert "doctor" in error.mend
