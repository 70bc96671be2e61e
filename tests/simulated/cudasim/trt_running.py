"""The running half of the simulated TensorRT: runtime, engine, execution context.

Knows their order, addresses, and what is enqueued. Does not know how a plan comes about (trt_building.py), nor how its
numbers are computed (computing.py).
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cudasim import plan
from cudasim.computing import Node, compute, nodes
from cudasim.memory import Allocation
from cudasim.streams import Thing, Work
from cudasim.trt_building import IHostMemory, _Object
from cudasim.trt_names import DataType, Severity, TensorIOMode, of_numpy
from cudasim.trt_talking import say, take_logger

if TYPE_CHECKING:
    from cudasim.machine import Machine

_SCRATCH = 1 << 20
_ALIGNED = 256


@dataclass(eq=False)
class EngineThing(Thing):
    runtime: Thing | None = None
    graph: bytes = b""
    plan: bytes = b""
    nodes: tuple[Node, ...] = ()


@dataclass(eq=False)
class ExecutionThing(Thing):
    engine: EngineThing | None = None
    addresses: dict[str, int] = field(default_factory=dict)
    ran: bool = False  # outside a capture


class Runtime(_Object):
    """Takes plans."""

    def __init__(self, logger: Any) -> None:
        driver = self._machine.driver
        self._machine.called("tensorrt", "Runtime")
        take_logger(self._machine, "Runtime", logger)
        self._state = driver.add(Thing(driver.named("runtime"), driver.current("Runtime")))

    def deserialize_cuda_engine(self, serialized_engine: bytes | IHostMemory) -> "ICudaEngine | None":
        machine, call, data = self._machine, "Runtime.deserialize_cuda_engine", bytes(serialized_engine)
        machine.called("tensorrt", call, bytes=len(data))
        owner = machine.driver.current(call)
        machine.driver.unsafe(call)
        if not _goes_well(machine, "deserialise"):
            return None
        found = plan.unpack(data, machine.tensorrt_version, "{}.{}".format(*machine.compute_capability))
        if isinstance(found, str):
            say(machine, Severity.ERROR, found)
            return None
        _, graph = found
        say(machine, Severity.INFO, f"Loaded engine size: {len(data) >> 20} MiB")
        made = object.__new__(ICudaEngine)
        made._machine = machine
        made._state = machine.driver.add(
            EngineThing(machine.driver.named("engine"), owner, runtime=self._state, graph=graph, plan=data,
                        nodes=nodes(graph))
        )  # fmt: skip
        return made

    def __del__(self) -> None:
        self._gone(EngineThing)


class ICudaEngine(_Object):
    """A plan that was taken."""

    _state: EngineThing

    @property
    def num_io_tensors(self) -> int:
        return len(self._state.nodes)

    @property
    def device_memory_size_v2(self) -> int:
        return _SCRATCH

    def get_tensor_name(self, index: int) -> str:
        if not 0 <= index < len(self._state.nodes):
            raise self._machine.misuse(f"ICudaEngine.get_tensor_name({index}), there are {len(self._state.nodes)}")
        return self._state.nodes[index].name

    def get_tensor_dtype(self, name: str) -> DataType:
        return of_numpy(self._node(name).kind)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if self._node(name).is_input else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._node(name).shape

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._state.plan)

    def create_execution_context(self) -> "IExecutionContext | None":
        machine, call = self._machine, "ICudaEngine.create_execution_context"
        machine.called("tensorrt", call)
        owner = machine.driver.current(call)
        machine.driver.unsafe(call)
        runtime = self._state.runtime
        if runtime is not None and not runtime.alive:
            raise machine.misuse(f"{call}: {runtime.what} is gone")
        if not _goes_well(machine, "context"):
            return None
        made = object.__new__(IExecutionContext)
        made._machine = machine
        made._state = machine.driver.add(
            ExecutionThing(machine.driver.named("execution context"), owner, engine=self._state)
        )
        return made

    def _node(self, name: str) -> Node:
        for node in self._state.nodes:
            if node.name == name:
                return node
        raise self._machine.misuse(f"the engine has no tensor {name!r}")

    def __del__(self) -> None:
        self._gone(ExecutionThing)


class IExecutionContext(_Object):
    """An engine with scratch memory, ready to be enqueued."""

    _state: ExecutionThing

    def set_tensor_address(self, name: str, memory: int) -> bool:
        machine, call = self._machine, "IExecutionContext.set_tensor_address"
        machine.called("tensorrt", call, name=name, address=memory)
        node = next((one for one in self._engine(call).nodes if one.name == name), None)
        if node is None:
            say(machine, Severity.ERROR, f"setTensorAddress: Error Code 3: API Usage Error (no tensor is named {name})")
            return False
        machine.driver.bytes_at(f"{call}({name!r})", memory, node.nbytes)
        if memory % _ALIGNED:
            raise machine.misuse(f"{call}: {memory:#x} for {name!r} is not aligned to {_ALIGNED} bytes")
        self._state.addresses[name] = memory
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._state.addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: int) -> bool:
        machine, call, state = self._machine, "IExecutionContext.execute_async_v3", self._state
        machine.called("tensorrt", call, stream=stream_handle)
        driver = machine.driver
        driver.current(call)
        stream = driver.stream(call, stream_handle)
        engine = self._engine(call)
        if missing := [one.name for one in engine.nodes if one.name not in state.addresses]:
            raise machine.misuse(f"{call}: no address is set for {', '.join(missing)}")
        if stream.capture is not None and not state.ran:
            raise machine.misuse(f"{call}: captured before a plain run, which allocates and loads kernels")
        elsewhere = [one for one in driver.streams() if one is not stream and any(state in w.things for w in one.queue)]
        if elsewhere:
            raise machine.misuse(f"{call}: {state.what} is enqueued on {elsewhere[0].what} as well")
        if not _goes_well(machine, "execute"):
            return False
        state.ran = state.ran or stream.capture is None
        driver.submit(stream, self._work(call, engine))
        return True

    def _work(self, call: str, engine: EngineThing) -> Work:
        machine, graph, addresses = self._machine, engine.graph, self._state.addresses
        places = {
            one.name: (*machine.driver.bytes_at(f"{call}({one.name!r})", addresses[one.name], one.nbytes), one.nbytes)
            for one in engine.nodes
        }
        for one in engine.nodes:
            clash = [name for name in places if name != one.name and _overlap(places[name], places[one.name])]
            if clash and not one.is_input:
                raise machine.misuse(f"{call}: {one.name!r} lies where {clash[0]!r} lies")

        def run() -> None:
            scale, nan = machine.faults.wrong(graph)
            memory = {name: at.data[start : start + size] for name, (at, start, size) in places.items()}
            compute(graph, memory, scale, nan=nan)

        memory = tuple(dict.fromkeys(at for at, _, _ in places.values()))
        return Work(f"a run of {self._state.what}", run, memory, (self._state, engine))

    def _engine(self, call: str) -> EngineThing:
        engine = self._state.engine
        assert engine is not None
        if not engine.alive:
            raise self._machine.misuse(f"{call}: {engine.what} is gone")
        return engine

    def __del__(self) -> None:
        self._gone()


def _overlap(first: tuple[Allocation, int, int], second: tuple[Allocation, int, int]) -> bool:
    (one, start, size), (other, begin, length) = first, second
    return one is other and start < begin + length and begin < start + size


def _goes_well(machine: "Machine", what: str) -> bool:
    """False where it was asked to fail, or the device is lost; then it was logged."""
    lines = machine.faults.take(what)
    if lines is None and machine.driver.lost:
        lines = (f"Error Code 1: Cuda Runtime ({machine.driver.lost})",)
    for line in lines or ():
        say(machine, Severity.ERROR, line)
    return lines is None
