"""The building half of the simulated TensorRT: builder, network, parser, configuration, timing cache.

Knows their order, and what a builder tells of itself. Does not know how plans are run (trt_running.py).

The real objects keep what they stand on alive, in Python. Here they do not, so that a wrong order is seen.
"""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import onnx

from cudasim import plan
from cudasim.computing import nodes
from cudasim.misuse import Misuse
from cudasim.streams import Thing
from cudasim.trt_names import (
    BuilderFlag,
    ErrorCode,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    Severity,
)
from cudasim.trt_talking import IProgressMonitor, check_made, on_another_thread, say, take_logger

if TYPE_CHECKING:
    from cudasim.machine import Machine

# Phases as TensorRT-RTX 1.7 tells them: name, steps, {step: phases within}.
_Phase = tuple[str, int, dict[int, list[Any]]]
_TIMING: _Phase = ("Timing tactics", 2, {0: [("Timing graph nodes", 3, {})]})
_SUBGRAPH: _Phase = (
    "Building engine from subgraph", 1,
    {0: [("Optimizing graph", 30, {}), ("Computing profile costs", 5, {2: [_TIMING]})]},
)  # fmt: skip
_PHASES: _Phase = (
    "Building engine", 6,
    {0: [("Cloning network graph", 1, {})], 1: [("Preparing graph for optimization", 1, {})], 3: [_SUBGRAPH]},
)  # fmt: skip


class IHostMemory:
    """Bytes that TensorRT owns."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def nbytes(self) -> int:
        return len(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return self._data


@dataclass(eq=False)
class NetworkThing(Thing):
    builder: Thing | None = None
    graph: bytes | None = None  # None: nothing was parsed
    parser: Thing | None = None
    refused: bool = False


@dataclass(eq=False)
class ConfigThing(Thing):
    builder: Thing | None = None
    flags: set[BuilderFlag] = field(default_factory=lambda: {BuilderFlag.TF32})
    pools: dict[MemoryPoolType, int] = field(default_factory=dict)
    cache: set[str] | None = None


class _Object:
    """Something of TensorRT's that is destroyed when Python lets go of it."""

    _machine: "Machine"
    _state: Any

    def _gone(self, *standing_on_it: type[Thing]) -> None:
        if not hasattr(self, "_state") or not self._state.alive:
            return
        driver = self._machine.driver
        try:
            for one in driver.things:
                if isinstance(one, standing_on_it) and one.alive and self._state in vars(one).values():
                    self._machine.misuse(f"{self._state.what} is destroyed before {one.what}")
            if not driver.thread().stack:
                self._machine.misuse(
                    f"{self._state.what} is destroyed on thread {driver.thread().name!r}, where no context is current"
                )
            driver.destroy("a destructor", self._state)
        except Misuse:
            pass  # remembered; a destructor cannot raise


class Builder(_Object):
    """Makes plans."""

    def __init__(self, logger: Any) -> None:
        driver = self._machine.driver
        self._machine.called("tensorrt", "Builder")
        take_logger(self._machine, "Builder", logger)
        self._state = driver.add(Thing(driver.named("builder"), driver.current("Builder")))

    def create_network(self, flags: int = 0) -> "INetworkDefinition":
        self._machine.called("tensorrt", "Builder.create_network", flags=flags)
        if not int(flags) >> int(NetworkDefinitionCreationFlag.STRONGLY_TYPED) & 1:
            raise self._machine.misuse("Builder.create_network: not strongly typed, so the builder chooses precisions")
        return self._give(INetworkDefinition, NetworkThing, "network")

    def create_builder_config(self) -> "IBuilderConfig":
        self._machine.called("tensorrt", "Builder.create_builder_config")
        made = self._give(IBuilderConfig, ConfigThing, "builder configuration")
        made._level, made._monitor, made._verbosity = 3, None, ProfilingVerbosity.LAYER_NAMES_ONLY
        return made

    def build_serialized_network(self, network: "INetworkDefinition", config: "IBuilderConfig") -> IHostMemory | None:
        machine, call = self._machine, "Builder.build_serialized_network"
        machine.called("tensorrt", call)
        machine.driver.current(call)
        machine.driver.unsafe(call)
        parsed, asked = network._state, config._state
        for one in (parsed, asked):
            if not one.alive or one.builder is not self._state:
                raise machine.misuse(f"{call}: {one.what} is not of this builder")
        if parsed.refused:
            raise machine.misuse(f"{call}: the parser refused the graph, the network is half made")
        if parsed.parser is not None and not parsed.parser.alive:
            raise machine.misuse(f"{call}: {parsed.parser.what} is gone, and with it the weights")
        return on_another_thread(lambda: self._build(parsed, config))

    def _build(self, parsed: NetworkThing, config: "IBuilderConfig") -> IHostMemory | None:
        machine = self._machine
        if not parsed.graph:
            say(machine, Severity.ERROR, "Error Code 4: API Usage Error (Network must have at least one output)")
            return None
        fails = machine.faults.take("build")
        monitor = config._monitor
        if not _walk(machine, monitor, _PHASES, None, count(1)):
            return None
        if fails is not None:
            for line in fails:
                say(machine, Severity.ERROR, line)
            return None
        try:
            nodes(parsed.graph)
        except Exception as error:
            say(machine, Severity.ERROR, f"Error Code 10: Internal Error (the simulator cannot run it: {error})")
            return None
        state = config._state
        made = plan.Made(
            tensorrt=machine.tensorrt_version,
            compute_capability=_compute(machine),
            tf32=BuilderFlag.TF32 in state.flags,
            optimisation_level=config._level,
            workspace=state.pools.get(MemoryPoolType.WORKSPACE, machine.total_memory),
        )
        state.cache = (state.cache or set()) | {hashlib.sha256(parsed.graph).hexdigest()[:16]}
        say(machine, Severity.INFO, "Engine generation completed in 0.1 seconds.")
        return IHostMemory(plan.pack(made, parsed.graph))

    def _give(self, kind: type[Any], thing: type[Any], name: str) -> Any:
        driver = self._machine.driver
        made = object.__new__(kind)
        made._machine = self._machine
        made._state = driver.add(thing(driver.named(name), self._state.owner, builder=self._state))
        return made

    def __del__(self) -> None:
        self._gone(NetworkThing, ConfigThing)


class INetworkDefinition(_Object):
    """What the parser fills."""

    @property
    def num_layers(self) -> int:
        graph = self._state.graph
        return len(onnx.load_from_string(graph).graph.node) if graph else 0

    def __del__(self) -> None:
        self._gone()


@dataclass(frozen=True)
class _Complaint:
    node: str
    operator: str
    text: str
    code: ErrorCode


class ParserError:
    """Why a graph was refused."""

    def __init__(self, complaint: _Complaint) -> None:
        self._complaint = complaint

    def node_name(self) -> str:
        return self._complaint.node

    def node_operator(self) -> str:
        return self._complaint.operator

    def desc(self) -> str:
        return self._complaint.text

    def code(self) -> ErrorCode:
        return self._complaint.code

    def node(self) -> int:
        return -1

    def line(self) -> int:
        return 0

    def file(self) -> str:
        return "ModelImporter.cpp"

    def func(self) -> str:
        return "parse"


class OnnxParser(_Object):
    """Fills a network."""

    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        driver = self._machine.driver
        self._machine.called("tensorrt", "OnnxParser")
        take_logger(self._machine, "OnnxParser", logger)
        self._network: NetworkThing = network._state
        self._state = driver.add(Thing(driver.named("parser"), self._network.owner))
        self._network.parser = self._state
        self._errors: list[_Complaint] = []

    def parse(self, model: bytes) -> bool:
        self._machine.called("tensorrt", "OnnxParser.parse", bytes=len(model))
        if not self._network.alive:
            raise self._machine.misuse(f"OnnxParser.parse: {self._network.what} is gone")
        if self._network.graph is not None or self._network.refused:
            raise self._machine.misuse("OnnxParser.parse: the network was filled before")
        self._errors = list(self._complaints(bytes(model)))
        for one in self._errors:
            where = f"In node -1 with name: {one.node} and operator: {one.operator} (parse)"
            say(self._machine, Severity.ERROR, f"{where}: {one.code.name}: {one.text}")
        self._network.refused = bool(self._errors)
        self._network.graph = bytes(model)
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        if not 0 <= index < len(self._errors):
            raise self._machine.misuse(f"OnnxParser.get_error({index}), there are {len(self._errors)}")
        return ParserError(self._errors[index])

    def clear_errors(self) -> None:
        self._errors = []

    def _complaints(self, model: bytes) -> Iterator[_Complaint]:
        try:
            graph = onnx.load_from_string(model).graph
        except Exception:
            text = "Assertion failed: model->ParseFromCodedStream(&coded_input): Failed to parse the ONNX model."
            yield _Complaint("", "", text, ErrorCode.MODEL_DESERIALIZE_FAILED)
            return
        for node, operator, text, code in self._machine.faults.of_parser():
            yield _Complaint(node, operator, text, ErrorCode[code])
        for node in graph.node:
            if not onnx.defs.has(node.op_type, node.domain):
                text = f"No importer registered for op: {node.op_type}. Attempting to import as plugin."
                yield _Complaint(node.name, node.op_type, text, ErrorCode.UNSUPPORTED_NODE)

    def __del__(self) -> None:
        # Its network may go first: it is not used any more.
        self._gone()


class ITimingCache:
    """How long kernels took."""

    def __init__(self, machine: "Machine", tensorrt: str, compute: str, graphs: set[str]) -> None:
        self._machine, self._tensorrt, self._compute, self._graphs = machine, tensorrt, compute, graphs

    def serialize(self) -> IHostMemory:
        self._machine.called("tensorrt", "ITimingCache.serialize")
        return IHostMemory(plan.pack_timings(self._tensorrt, self._compute, self._graphs))


class IBuilderConfig(_Object):
    """What the builder is told."""

    _level: int
    _monitor: Any
    _verbosity: ProfilingVerbosity

    @property
    def builder_optimization_level(self) -> int:
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        if not 0 <= level <= 5:
            raise self._machine.misuse(f"builder_optimization_level = {level}")
        self._level = level

    @property
    def progress_monitor(self) -> Any:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: Any) -> None:
        check_made(self._machine, IProgressMonitor, monitor)
        self._monitor = monitor

    @property
    def profiling_verbosity(self) -> ProfilingVerbosity:
        return self._verbosity

    @profiling_verbosity.setter
    def profiling_verbosity(self, verbosity: ProfilingVerbosity) -> None:
        self._verbosity = verbosity

    def set_flag(self, flag: BuilderFlag) -> None:
        self._state.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._state.flags.discard(flag)

    def get_flag(self, flag: BuilderFlag) -> bool:
        return flag in self._state.flags

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._machine.called("tensorrt", "IBuilderConfig.set_memory_pool_limit", pool=pool.name, bytes=pool_size)
        if not 0 < pool_size <= self._machine.total_memory:
            raise self._machine.misuse(f"set_memory_pool_limit: {pool_size} bytes")
        self._state.pools[pool] = pool_size

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        return int(self._state.pools.get(pool, self._machine.total_memory))

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        data, machine = bytes(serialized_timing_cache), self._machine
        machine.called("tensorrt", "IBuilderConfig.create_timing_cache", bytes=len(data))
        if not data:
            return ITimingCache(machine, machine.tensorrt_version, _compute(machine), set())
        known = plan.unpack_timings(data)
        if known is None:
            say(machine, Severity.ERROR, "Error Code 1: Serialization (Serialization assertion magicTagRead == "
                "kMAGIC_TAG failed.Magic tag does not match)")  # fmt: skip
            return None
        return ITimingCache(machine, *known)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        machine = self._machine
        machine.called("tensorrt", "IBuilderConfig.set_timing_cache", ignore_mismatch=ignore_mismatch)
        if (cache._tensorrt, cache._compute) != (machine.tensorrt_version, _compute(machine)):
            if ignore_mismatch:
                raise machine.misuse("set_timing_cache: timings of another device are taken")
            say(machine, Severity.WARNING, "The timing cache was made by another TensorRT or on another device.")
            return False
        self._state.cache = set(cache._graphs)
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        machine, known = self._machine, self._state.cache
        machine.called("tensorrt", "IBuilderConfig.get_timing_cache")
        return None if known is None else ITimingCache(machine, machine.tensorrt_version, _compute(machine), set(known))

    def __del__(self) -> None:
        self._gone()


def _compute(machine: "Machine") -> str:
    return "{}.{}".format(*machine.compute_capability)


def _walk(machine: "Machine", monitor: Any, phase: _Phase, parent: str | None, done: Iterator[int]) -> bool:
    """Tell a monitor of a phase and those within; False: it wants to stop."""
    name, steps, within = phase

    def tell(what: str, *arguments: Any) -> Any:
        if monitor is None:
            return True
        try:
            return getattr(monitor, what)(*arguments)
        except Misuse:
            raise
        except BaseException as error:
            raise machine.misuse(f"IProgressMonitor.{what} raised {type(error).__name__} into TensorRT") from error

    tell("phase_start", name, parent, steps)
    going = True
    for step in range(steps):
        for inner in within.get(step, []):
            going = going and _walk(machine, monitor, inner, name, done)
        if not going:
            break
        if machine.faults.step_s:
            time.sleep(machine.faults.step_s)
        if machine.faults.step(next(done), name):
            os.kill(os.getpid(), signal.SIGINT)
        if not tell("step_complete", name, step):
            going = False
            break
    tell("phase_finish", name)
    return going
