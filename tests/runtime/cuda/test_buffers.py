"""Memory that both sides see: in place on an integrated GPU, with enqueued copies on a discrete one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cudasim import Machine

from diffad_runtime.cuda.buffers import Mapped, Staged, exchange
from diffad_runtime.cuda.gpu import Gpu, open_gpu

SHAPE = (1, 5, 7)


@pytest.fixture(params=["integrated", "discrete", "integrated, cannot map"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    made = Machine(integrated=request.param.startswith("integrated"), maps_host_memory="cannot" not in request.param)
    with made.installed():
        yield made
        made.assert_clean()


@pytest.fixture
def gpu(machine: Machine) -> Iterator[Gpu]:
    opened = open_gpu()
    with opened.current():
        yield opened
    assert not machine.driver.thread().stack


def maps(machine: Machine) -> bool:
    return machine.integrated and machine.maps_host_memory


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_the_kind_that_this_gpu_is_best_at(machine: Machine, gpu: Gpu, kind: str) -> None:
    tensor = exchange(gpu, SHAPE, kind)
    assert isinstance(tensor, Mapped if maps(machine) else Staged)
    assert (tensor.host.shape, tensor.host.dtype.name) == (SHAPE, kind)
    assert tensor.host.flags.c_contiguous
    assert machine.count("mem_alloc") == (not maps(machine))
    found, offset = machine.driver.bytes_at("here", tensor.address, tensor.host.nbytes)
    assert (offset, found.kind) == (0, "mapped" if maps(machine) else "device")
    tensor.free()


def test_what_the_host_wrote_is_there_after_the_upload_and_back_after_the_download(machine: Machine, gpu: Gpu) -> None:
    tensor, stream = exchange(gpu, SHAPE, "float32"), gpu.cuda.Stream()
    written = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    on_gpu = machine.driver.bytes_at("here", tensor.address, tensor.host.nbytes)[0].data.view(np.float32)
    tensor.host[...] = written
    tensor.upload(stream)
    # Enqueued: it happens when somebody waits.
    assert np.array_equal(on_gpu, written.ravel()) == maps(machine)
    stream.synchronize()
    np.testing.assert_array_equal(on_gpu, written.ravel())
    on_gpu[...] = written.ravel() + 1
    tensor.download(stream)
    assert np.array_equal(tensor.host, written + 1) == maps(machine)
    stream.synchronize()
    np.testing.assert_array_equal(tensor.host, written + 1)
    copies = [name for name in machine.names() if name.startswith("memcpy")]
    assert copies == ([] if maps(machine) else ["memcpy_htod_async", "memcpy_dtoh_async"])
    tensor.free()


def test_free_gives_back_both_sides_at_once(machine: Machine, gpu: Gpu) -> None:
    tensor = exchange(gpu, SHAPE, "uint8")
    kept = tensor.host
    tensor.free()
    assert machine.driver.left_in() == []
    assert tensor.host.size == 0  # a later write reaches nothing that was freed
    assert kept.shape == SHAPE


@pytest.mark.parametrize("name", ["pagelocked_empty", "mem_alloc", "PagelockedHostAllocation.get_device_pointer"])
def test_an_allocation_that_fails_leaves_nothing_while_its_exception_is_kept(
    machine: Machine, gpu: Gpu, name: str
) -> None:
    machine.faults.cuda_error_on(name, "MemoryError")
    if name == ("mem_alloc" if maps(machine) else "PagelockedHostAllocation.get_device_pointer"):
        exchange(gpu, SHAPE, "uint8").free()  # this kind does not call it
        return
    with pytest.raises(gpu.cuda.MemoryError) as raised:
        exchange(gpu, SHAPE, "uint8")
    assert "out of memory" in str(raised.value)
    assert machine.driver.left_in() == []


def test_more_than_there_is(gpu: Gpu, machine: Machine) -> None:
    sides: tuple[Any, ...] = (machine.free_memory // (1 << 10) + 1, 1 << 10)
    if machine.integrated:
        with pytest.raises(gpu.cuda.MemoryError):
            exchange(gpu, sides, "uint8")
    assert machine.driver.left_in() == []
