"""One deserialised engine: what it says of its tensors, when it refuses, and in which order it goes."""

import gc
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cudasim import Machine

from diffad_runtime.bundle import open_bundle
from diffad_runtime.cuda.gpu import Gpu, open_gpu
from diffad_runtime.errors import EngineError
from diffad_runtime.tensorrt.building import BuildOptions, build_plan
from diffad_runtime.tensorrt.log import Heard, listening
from diffad_runtime.tensorrt.network import Network, PlanRefusedError


@pytest.fixture(scope="module")
def graph(tiny_bundle: Path) -> bytes:
    """The extractor."""
    return open_bundle(tiny_bundle).graphs()[0]


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    with made.installed():
        yield made
        gc.collect()
        made.assert_clean()


@pytest.fixture
def trt(machine: Machine) -> Any:
    module = import_module("tensorrt")
    assert module.__version__ == machine.tensorrt_version
    return module


@pytest.fixture
def gpu(machine: Machine) -> Iterator[Gpu]:
    """Its context is current."""
    opened = open_gpu()
    with opened.current():
        yield opened
    assert not machine.driver.thread().stack


@pytest.fixture
def plan(trt: Any, gpu: Gpu, graph: bytes) -> bytes:
    return build_plan(trt, graph, "extractor.fp32", BuildOptions(), free_bytes=gpu.facts.total_bytes).plan


@pytest.mark.usefixtures("gpu")
def test_it_knows_its_tensors(trt: Any, plan: bytes) -> None:
    network = Network(trt, plan, "extractor.fp32")
    assert network.inputs == {"image": ("uint8", [1, 64, 64, 3])}
    assert network.outputs == {"x": ("float32", [1, 3, 64, 64]), "f": ("float32", [1, 3, 16, 16])}
    assert network.device_bytes() == 1 << 20
    network.close()


def test_it_runs_where_its_tensors_were_bound(trt: Any, gpu: Gpu, plan: bytes) -> None:
    network, stream = Network(trt, plan, "e"), gpu.cuda.Stream()
    flags = gpu.cuda.host_alloc_flags.DEVICEMAP
    arrays = {
        name: gpu.cuda.pagelocked_empty(shape, kind, mem_flags=flags)
        for name, (kind, shape) in (network.inputs | network.outputs).items()
    }
    network.bind({name: int(array.base.get_device_pointer()) for name, array in arrays.items()})
    arrays["image"][...] = 255
    with listening(trt) as heard:
        network.enqueue(stream.handle, heard)
    assert np.isnan(arrays["x"]).all()  # it is enqueued, and nobody has waited
    stream.synchronize()
    np.testing.assert_array_equal(arrays["x"], 1)
    np.testing.assert_array_equal(arrays["f"], 1)
    network.close()
    for array in arrays.values():
        array.base.free()


@pytest.mark.usefixtures("gpu")
def test_closed_it_is_gone_in_order_and_twice_is_harmless(machine: Machine, trt: Any, plan: bytes) -> None:
    network = Network(trt, plan, "e")
    before = machine.driver.left_in()
    assert len(before) == 3
    network.close()
    network.close()
    assert machine.driver.left_in() == []


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("damage", [b"", b"no plan", b"\0" * 4096])
def test_rubbish_is_refused(trt: Any, damage: bytes) -> None:
    with pytest.raises(PlanRefusedError, match="built by another TensorRT or for another GPU"):
        Network(trt, damage, "e")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("what", "kind"), [("deserialise_none", PlanRefusedError), ("no_execution_context", EngineError)]
)
@pytest.mark.parametrize(
    ("log", "why"),
    [
        ([], "TensorRT does not say why"),
        (["Error Code 2: OutOfMemory (no further information)"], "no memory to load it"),
        (["Version tag does not match"], "built by another TensorRT or for another GPU"),
        (["one", "two", "three"], "two; three"),
    ],
)
def test_what_is_refused_says_why_and_is_freed_while_the_exception_is_kept(
    machine: Machine, trt: Any, plan: bytes, what: str, kind: type[Exception], log: list[str], why: str
) -> None:
    getattr(machine.faults, what)(1, log)
    with pytest.raises(kind) as raised:
        Network(trt, plan, "e")
    assert why in str(raised.value)
    assert machine.driver.left_in() == []
    Network(trt, plan, "e").close()


@pytest.mark.usefixtures("gpu")
def test_what_earlier_work_logged_is_not_given_as_the_reason(machine: Machine, trt: Any, plan: bytes) -> None:
    machine.faults.deserialise_none(1, ["an old story"])
    with pytest.raises(PlanRefusedError, match="an old story"):
        Network(trt, plan, "e")
    machine.faults.deserialise_none(1)
    with pytest.raises(PlanRefusedError, match="does not say why"):
        Network(trt, plan, "e")


def test_a_refused_execution_gives_the_last_lines(machine: Machine, trt: Any, gpu: Gpu, plan: bytes) -> None:
    network = Network(trt, plan, "extractor.int8-trt")
    for log, said in ((["a", "b", "c", "d"], "b; c; d"), ([], "it says nothing")):
        stream, arrays = gpu.cuda.Stream(), []
        for name, (kind, shape) in (network.inputs | network.outputs).items():
            arrays.append(gpu.cuda.mem_alloc(int(np.prod([int(side) for side in shape])) * np.dtype(kind).itemsize))
            network.bind({name: int(arrays[-1])})
        machine.faults.execute_false(1, log)
        with (
            listening(trt) as heard,
            pytest.raises(EngineError, match=f"^extractor.int8-trt: TensorRT cannot run it: {said}") as raised,
        ):
            network.enqueue(stream.handle, heard)
        assert "build --rebuild" in raised.value.mend
        for memory in arrays:
            memory.free()
    network.close()


@pytest.mark.usefixtures("gpu")
def test_an_address_that_tensorrt_refuses(trt: Any, plan: bytes) -> None:
    network = Network(trt, plan, "extractor.fp32")
    with pytest.raises(EngineError, match=r"^extractor\.fp32: TensorRT refuses the address of 'nothing'") as raised:
        network.bind({"nothing": 256})
    assert raised.value.mend
    network.close()


def test_what_is_heard_is_the_last_of_errors_else_of_warnings() -> None:
    heard = Heard()
    assert heard.last() == ""
    heard.lines.extend(["w1", "w2\n  more"])
    assert heard.last() == "w1; w2 more"
    heard.errors.append("e1")
    assert heard.last() == "e1"
