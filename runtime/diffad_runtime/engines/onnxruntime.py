"""The two graphs run by ONNX Runtime: on the CPU, or on a GPU where a provider for it is asked for.

Knows onnxruntime's sessions, options and exceptions. Does not know the bundle, nor what the maps mean.

Buffers: onnxruntime gives a fresh array for every output, so the caller owns what it gets. x and the features are
passed from one session to the other as they are; onnxruntime reads contiguous arrays in place.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from diffad_runtime.engines.base import Engine, Ran, Tensors
from diffad_runtime.engines.lanes import Lanes
from diffad_runtime.engines.providers import CPU, Provider
from diffad_runtime.engines.signature import Nodes, check_signature
from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.result import Image

_EXPORT_AGAIN = "Export the bundle again with 'diffad-edge export', or run another variant"
_WARNINGS, _FATAL = 2, 4  # what fails is raised as well, so nothing is lost by keeping it off stderr

DISABLED_OPTIMISERS = ["WeightBiasQuantization"]
"""Rounds weights and biases that a graph keeps in float, where their input is rounded. Precision is the graph's
business; and with scales in FP16 it goes wrong: features of an extractor were off by 1.6 standard deviations, by 0.14
without it (onnxruntime 1.32)."""

# onnxruntime's exceptions have no base of their own; missing inputs are a ValueError, conversions a RuntimeError.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(ort_state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)


_ON_CPU = Provider()


class OnnxRuntimeEngine(Engine):
    """Runs a variant's graphs, on the CPU unless another provider is named.

    With more than one thread it sets OpenCV to one, in the whole process. On a CPU it then takes two frames at once: a
    frame that is alone is run on all threads, for the least latency; frames that come closer than that on one each,
    which takes longer and gives more of them, as nobody waits for anybody (engines/lanes.py). The maps are the same.

    Args:
        extractor: serialised ONNX. image uint8 (1, S, S, 3) -> x float32 (1, 3, S, S), and features float32
            (1, C, g, g): one or several, of any other names and sizes.
        reconstructor: serialised ONNX. x and the same features -> float32 anomaly_map (1, S, S), feature_score
            (1, G, G) and, optional, pixel_score (1, G, G).
        input_size: S.
        variant: its name, for results and messages.
        threads: worker threads; None: as many as this process may use.
        provider: of the sessions.
        verbose: let onnxruntime's warnings through.

    Raises:
        EngineError: a graph that onnxruntime refuses, or with other inputs and outputs than these; or onnxruntime fell
            back to the CPU where another provider was asked for.
        InputError: threads below 1.
    """

    def __init__(
        self,
        extractor: bytes,
        reconstructor: bytes,
        *,
        input_size: int,
        variant: str,
        threads: int | None = None,
        provider: Provider = _ON_CPU,
        verbose: bool = False,
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads must be 1 or more, got {threads}", mend="Leave it out for a default")
        self.backend = provider.backend
        self.variant = variant
        self.input_size = input_size
        self.threads = threads or usable_cores()
        if self.threads > 1:
            # OpenCV's idle workers wait spinning, on the cores that onnxruntime's need next, and gain the resize of a
            # frame nothing: 15.5 ms a frame against 12.5 without them (2 threads on 2 x86 cores, 1080p, INT8).
            cv2.setNumThreads(1)
        ort.set_default_logger_severity(_WARNINGS if verbose else _FATAL)

        def pair(threads: int) -> _Pair:
            return _Pair(extractor, reconstructor, f"{self.backend}, variant {variant!r}", threads, provider, verbose)

        wide = pair(self.threads)
        check_signature(*wide.signature, input_size=input_size, variant=variant)
        both = self.threads > 1 and provider.name == CPU
        self._lanes: Lanes[_Pair] | None = Lanes(wide, pair(1) if both else None)
        self.lanes = 2 if both else 1

    def close(self) -> None:
        self._lanes = None

    def _infer(self, image: Image) -> Ran:
        lanes = self._lanes
        if lanes is None:
            raise EngineError("the engine is closed", mend="Open the bundle again")
        with lanes.take() as pair:
            return pair.run(image)


class _Pair:
    """The sessions of both graphs, with workers of their own. Any number of threads may run them at once."""

    def __init__(
        self, extractor: bytes, reconstructor: bytes, whose: str, threads: int, provider: Provider, verbose: bool
    ) -> None:
        self._whose = whose
        options = session_options(threads, verbose=verbose)
        self._extractor = self._session(extractor, "extractor", options, provider)
        self._reconstructor = self._session(reconstructor, "reconstructor", options, provider)
        self._between = [node.name for node in self._extractor.get_outputs()]
        self._maps = [node.name for node in self._reconstructor.get_outputs()]

    @property
    def signature(self) -> tuple[tuple[Nodes, Nodes], tuple[Nodes, Nodes]]:
        """(inputs, outputs) of extractor and reconstructor."""
        extractor, reconstructor = self._extractor, self._reconstructor
        return (
            (_nodes(extractor.get_inputs()), _nodes(extractor.get_outputs())),
            (_nodes(reconstructor.get_inputs()), _nodes(reconstructor.get_outputs())),
        )

    def run(self, image: Image) -> Ran:
        """uint8 (1, S, S, 3) BGR -> maps, as Engine._infer."""
        start = time.perf_counter()
        between = self._run(self._extractor, self._between, {"image": image}, "extractor")
        middle = time.perf_counter()
        maps = self._run(self._reconstructor, self._maps, between, "reconstructor")
        return Ran(maps, 1e3 * (middle - start), 1e3 * (time.perf_counter() - middle))

    def _run(self, session: Any, outputs: list[str], inputs: Mapping[str, Any], what: str) -> Tensors:
        # Plain run, not IO binding: with preallocated outputs on both sides bound, the pair took 4.33 ms against
        # 4.38 ms (2 threads, x86, f of 192 x 64 x 64), and the buffers would have to be copied out.
        try:
            return dict(zip(outputs, session.run(outputs, inputs), strict=True))
        except _ORT_ERRORS as error:
            raise self._failed(f"{what} failed", error) from error

    def _session(self, graph: bytes, what: str, options: Any, provider: Provider) -> Any:
        try:
            session = ort.InferenceSession(
                graph, options, providers=provider.chain(), disabled_optimizers=DISABLED_OPTIMISERS
            )
        except _ORT_ERRORS as error:
            raise self._failed(f"{what} cannot be loaded", error) from error
        if provider.name not in (used := session.get_providers()):
            # onnxruntime goes on with what is left, and says so in its log only.
            raise EngineError(
                f"{self._whose}: {provider.name} does not work here, it fell back to {', '.join(used)}",
                mend="Check that its CUDA, cuDNN or TensorRT libraries are found, or leave --backend out",
            )
        return session

    def _failed(self, what: str, error: Exception) -> EngineError:
        lines = str(error).strip().splitlines()
        reason = lines[0][:300] if lines else type(error).__name__
        return EngineError(f"{self._whose}: {what}: {reason}", mend=_EXPORT_AGAIN)


def session_options(threads: int, *, verbose: bool = False) -> Any:
    """onnxruntime.SessionOptions as the engine sets them, for whoever times a graph beside it.

    Args:
        threads: worker threads, 1 or more.
        verbose: let onnxruntime's warnings through.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _WARNINGS if verbose else _FATAL
    # Each session has its own workers. Left spinning, the idle ones of one session take the cores from the other:
    # 35 ms a frame against 16 ms without (2 threads on 2 x86 cores, two float graphs). session.force_spinning_stop ends
    # that between runs, but any other process on a core still makes p95 32 ms where it is 14 without spinning. A global
    # pool for both is out of the question: onnxruntime then refuses every other session of the process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def usable_cores() -> int:
    """Cores that this process may use: its affinity, cut by the control group's quota as set in a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups of version 2 here
        pass
    return cores


def _nodes(found: Any) -> Nodes:
    """onnxruntime says "tensor(float)" and "tensor(uint8)"."""
    words = {"float": "float32"}
    named = ((node.name, str(node.type).removeprefix("tensor(").rstrip(")"), list(node.shape)) for node in found)
    return {name: (words.get(kind, kind), shape) for name, kind, shape in named}
