"""The two graphs run by ONNX Runtime on the CPU.

Knows onnxruntime's sessions, options and exceptions. Does not know the bundle, nor what the maps mean.

Buffers: onnxruntime gives a fresh array for every output, so the caller owns what it gets. x and f are passed from
one session to the other as they are; onnxruntime reads contiguous arrays in place.
"""

import os
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from diffad_runtime.engines.base import Engine
from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.result import FloatMap, Image

_EXPORT_AGAIN = "Export the bundle again with 'diffad-edge export', or run another variant"
_WARNINGS, _FATAL = 2, 4  # what fails is raised as well, so nothing is lost by keeping it off stderr

_Nodes = dict[str, tuple[str, list[Any]]]  # name -> type, shape

# onnxruntime's exceptions have no base of their own; missing inputs are a ValueError, conversions a RuntimeError.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(ort_state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)


class OnnxRuntimeEngine(Engine):
    """Runs a variant's graphs on the CPU.

    Args:
        extractor: serialised ONNX. image uint8 (1, S, S, 3) -> x float32 (1, 3, S, S), f float32 (1, C, G, G).
        reconstructor: serialised ONNX. x, f -> anomaly_map (1, S, S), pixel_score and feature_score (1, G, G), float32.
        input_size: S.
        variant: its name, for results and messages.
        threads: worker threads; None: as many as this process may use.
        verbose: let onnxruntime's warnings through.

    Raises:
        EngineError: a graph that onnxruntime refuses, or with other inputs and outputs than these.
        InputError: threads below 1.
    """

    backend = "onnxruntime"

    def __init__(
        self,
        extractor: bytes,
        reconstructor: bytes,
        *,
        input_size: int,
        variant: str,
        threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads must be 1 or more, got {threads}", mend="Leave it out for a default")
        self.variant = variant
        self.input_size = input_size
        self.threads = threads or usable_cores()
        ort.set_default_logger_severity(_WARNINGS if verbose else _FATAL)
        self._extractor = self._session(extractor, "extractor", verbose)
        self._reconstructor = self._session(reconstructor, "reconstructor", verbose)
        self._check_signature()

    def close(self) -> None:
        self._extractor = self._reconstructor = None

    def _extract(self, image: Image) -> tuple[FloatMap, FloatMap]:
        x, f = self._run(self._extractor, ["x", "f"], {"image": image}, "extractor")
        return x, f

    def _reconstruct(self, x: FloatMap, f: FloatMap) -> tuple[FloatMap, FloatMap, FloatMap]:
        names = ["anomaly_map", "pixel_score", "feature_score"]
        anomaly, pixel, feature = self._run(self._reconstructor, names, {"x": x, "f": f}, "reconstructor")
        return anomaly, pixel, feature

    def _run(self, session: Any, outputs: list[str], inputs: dict[str, Any], what: str) -> list[FloatMap]:
        if session is None:
            raise EngineError("the engine is closed", mend="Open the bundle again")
        # Plain run, not IO binding: with preallocated outputs on both sides bound, the pair took 4.33 ms against
        # 4.38 ms (2 threads, x86, f of 192 x 64 x 64), and the buffers would have to be copied out.
        try:
            arrays: list[FloatMap] = session.run(outputs, inputs)
        except _ORT_ERRORS as error:
            raise self._failed(f"{what} failed", error) from error
        return arrays

    def _session(self, graph: bytes, what: str, verbose: bool) -> Any:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _WARNINGS if verbose else _FATAL
        # Each session has its own workers. Left spinning, the idle ones of one session take the cores from the other:
        # 35 ms a frame against 16 ms without (2 threads on 2 x86 cores, two float graphs).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as error:
            raise self._failed(f"{what} cannot be loaded", error) from error

    def _check_signature(self) -> None:
        size = self.input_size
        features = {node.name: node.shape for node in self._extractor.get_outputs()}.get("f", [])
        channels, grid = (features[1], features[3]) if len(features) == 4 else ("C", "G")
        image: _Nodes = {"image": ("tensor(uint8)", [1, size, size, 3])}
        between: _Nodes = {
            "x": ("tensor(float)", [1, 3, size, size]),
            "f": ("tensor(float)", [1, channels, grid, grid]),
        }
        maps: _Nodes = {
            "anomaly_map": ("tensor(float)", [1, size, size]),
            "pixel_score": ("tensor(float)", [1, grid, grid]),
            "feature_score": ("tensor(float)", [1, grid, grid]),
        }
        for what, nodes, expected in (
            ("extractor's inputs are", self._extractor.get_inputs(), image),
            ("extractor's outputs are", self._extractor.get_outputs(), between),
            ("reconstructor's inputs are", self._reconstructor.get_inputs(), between),
            ("reconstructor's outputs are", self._reconstructor.get_outputs(), maps),
        ):
            got: _Nodes = {node.name: (node.type, node.shape) for node in nodes}
            # Names in place of numbers mean sizes that are not fixed.
            if got != expected or not all(isinstance(side, int) for _, shape in got.values() for side in shape):
                raise EngineError(
                    f"variant {self.variant!r}: the {what} {_text(got)}, expected {_text(expected)}, of fixed size",
                    mend=_EXPORT_AGAIN,
                )

    def _failed(self, what: str, error: Exception) -> EngineError:
        lines = str(error).strip().splitlines()
        reason = lines[0][:300] if lines else type(error).__name__
        return EngineError(f"onnxruntime, variant {self.variant!r}: {what}: {reason}", mend=_EXPORT_AGAIN)


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


def _text(nodes: _Nodes) -> str:
    return ", ".join(f"{name} {kind} {shape}" for name, (kind, shape) in nodes.items()) or "none"
