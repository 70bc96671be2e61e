"""One ONNX graph becomes a plan: the serialised engine of this TensorRT on this GPU.

Knows the parser, the builder and its configuration. Does not know bundles or the cache, nor runs what it builds. Takes
the module as an argument: TensorRT-RTX has the same parser and builder, and needs no GPU for them, so tests build for
real.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.tensorrt.interrupt import ctrl_c
from diffad_runtime.tensorrt.log import Heard, listening, logger_for, not_started
from diffad_runtime.tensorrt.messages import ParserComplaint, about_build, about_graph
from diffad_runtime.tensorrt.progress import make_monitor

_MIB = 1 << 20
LEAST_FREE = 384 * _MIB
"""Below it nothing is tried: on a board that shares its memory the system would start killing programs instead."""
_RESERVE = 512 * _MIB  # for weights, plan and everything else that runs, beside the workspace
_MOST_WORKSPACE = 1024 * _MIB  # no tactic of a network of this size asks for more
_LEAST_WORKSPACE = 64 * _MIB


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the builder is told. All but the workspace may change the engine, and go into its key.

    Attributes:
        optimisation_level: 0 to 5, more tactics are timed with each; None: TensorRT's own default, 3.
        workspace_mb: MiB that a layer may use for scratch; None: by the memory that is free.
        tf32: let FP32 convolutions run on tensor cores, rounded to 10 bits of mantissa.
    """

    optimisation_level: int | None = None
    workspace_mb: int | None = None
    tf32: bool = True

    def __post_init__(self) -> None:
        if self.optimisation_level is not None and not 0 <= self.optimisation_level <= 5:
            raise InputError(f"optimisation level {self.optimisation_level}", mend="Give 0 to 5, or leave it out")
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise InputError(f"a workspace of {self.workspace_mb} MiB", mend="Give 1 or more, or leave it out")


@dataclass(frozen=True, slots=True)
class Built:
    """A finished plan, and the timing cache that a later build may start from (b"" where there is none)."""

    plan: bytes
    timings: bytes


def build_plan(
    trt: Any,
    graph: bytes,
    name: str,
    options: BuildOptions,
    *,
    free_bytes: int,
    timings: bytes = b"",
    on_progress: Callable[[float], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Built:
    """Parse and build. The GPU's context is current; takes seconds to minutes.

    Args:
        trt: the module tensorrt, or tensorrt_rtx.
        graph: serialised ONNX, static shapes; its types are taken as they are.
        name: for messages, as in "reconstructor.fp16".
        free_bytes: memory that the builder may count on.
        timings: of an earlier build on this device, by the same TensorRT.
        on_progress: is told a number from 0 to 1, on a thread of TensorRT's.
        cancelled: asked often; True ends the build.

    Raises:
        EngineError: refused, out of memory, or no engine.
        KeyboardInterrupt: `cancelled` said so, or Ctrl-C was pressed.
    """
    if free_bytes < LEAST_FREE:
        raise EngineError(
            f"{name}: only {free_bytes // _MIB} MiB of memory are free, building needs {LEAST_FREE // _MIB} at least",
            mend="Stop other programs, above all the desktop (sudo systemctl isolate multi-user.target), or add swap",
        )
    with listening(trt) as heard, closing(_session(trt, heard)) as session, ctrl_c() as pressed:
        if not session.parser.parse(graph):
            raise _refused(name, session.parser, heard)
        monitor = make_monitor(trt, on_progress, lambda: pressed() or cancelled())
        session.configure(options, free_bytes, timings, monitor)
        plan = session.builder.build_serialized_network(session.network, session.config)
        if monitor.error is not None:
            raise monitor.error
        if monitor.stopped or pressed():
            raise KeyboardInterrupt
        if plan is None:
            said = about_build([*heard.lines], free_bytes)
            raise EngineError(f"{name}: {said.what}", mend=said.mend)
        on_progress(1.0)
        return Built(bytes(plan), session.timings())


def workspace_bytes(options: BuildOptions, free_bytes: int) -> int:
    """Limit for scratch memory: half of what is free beyond a reserve; of what was asked for, as much as is free."""
    room = free_bytes - _RESERVE
    if options.workspace_mb is not None:
        return min(options.workspace_mb * _MIB, max(_LEAST_WORKSPACE, room))
    return min(_MOST_WORKSPACE, max(_LEAST_WORKSPACE, room // 2))


class _Session:
    """TensorRT's objects of one build. Closed, they are gone, also where an exception still holds the frames."""

    def __init__(self, trt: Any) -> None:
        self._trt = trt
        logger = logger_for(trt)
        self.builder = trt.Builder(logger)
        self.network = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self.parser = trt.OnnxParser(self.network, logger)
        self.config = self.builder.create_builder_config()

    def configure(self, options: BuildOptions, free_bytes: int, timings: bytes, monitor: Any) -> None:
        trt, config = self._trt, self.config
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes(options, free_bytes))
        if options.optimisation_level is not None:
            config.builder_optimization_level = options.optimisation_level
        if not options.tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        # Timings of another TensorRT or GPU are refused; then the build starts with none.
        with _no_deprecations():
            for known in (timings, b""):
                cache = config.create_timing_cache(known)
                if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                    break
        config.progress_monitor = monitor

    def timings(self) -> bytes:
        with _no_deprecations():
            cache = self.config.get_timing_cache()
            return b"" if cache is None else bytes(cache.serialize())

    def close(self) -> None:
        self.config = self.parser = self.network = None
        self.builder = None


def _session(trt: Any, heard: Heard) -> _Session:
    try:
        return _Session(trt)
    except TypeError as error:  # what the bindings make of a builder that TensorRT does not give
        raise not_started(heard, error) from None


@contextmanager
def _no_deprecations() -> Iterator[None]:
    """Each version warns of what a later one drops. Made an error by whoever runs us, it breaks the bindings' calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _refused(name: str, parser: Any, heard: Heard) -> EngineError:
    found = [parser.get_error(index) for index in range(parser.num_errors)]
    complaints = [
        ParserComplaint(
            node=str(raised.node_name()),
            operator=str(raised.node_operator()),
            text=str(raised.desc()),
            code=str(raised.code()).rpartition(".")[2],
        )
        for raised in found
    ]
    said = about_graph(complaints, [*heard.lines])
    return EngineError(f"{name}: {said.what}", mend=said.mend)
