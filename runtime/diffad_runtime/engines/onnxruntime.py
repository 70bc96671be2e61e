"""The two graphs run by ONNX Runtime on the CPU.

Knows onnxruntime's sessions, options and exceptions. Does not know the bundle, nor what the maps mean.

Buffers: onnxruntime gives a fresh array for every output, so the caller owns what it gets. x and the features are
passed from one session to the other as they are; onnxruntime reads contiguous arrays in place.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from diffad_runtime.engines.base import Engine, Tensors
from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.result import Image

_EXPORT_AGAIN = "Export the bundle again with 'diffad-edge export', or run another variant"
_WARNINGS, _FATAL = 2, 4  # what fails is raised as well, so nothing is lost by keeping it off stderr

DISABLED_OPTIMISERS = ["WeightBiasQuantization"]
"""Rounds weights and biases that a graph keeps in float, where their input is rounded. Precision is the graph's
business; and with scales in FP16 it goes wrong: features of an extractor were off by 1.6 standard deviations, by 0.14
without it (onnxruntime 1.32)."""

_Node = tuple[str, list[Any]]  # type, shape
_Nodes = dict[str, _Node]  # by name
_FEATURES: _Node = ("tensor(float)", [1, "C", "g", "g"])
_MAP: _Node = ("tensor(float)", [1, "G", "G"])

# onnxruntime's exceptions have no base of their own; missing inputs are a ValueError, conversions a RuntimeError.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in vars(ort_state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    RuntimeError,
    ValueError,
)


class OnnxRuntimeEngine(Engine):
    """Runs a variant's graphs on the CPU. With more than one thread it sets OpenCV to one, in the whole process.

    Args:
        extractor: serialised ONNX. image uint8 (1, S, S, 3) -> x float32 (1, 3, S, S), and features float32
            (1, C, g, g): one or several, of any other names and sizes.
        reconstructor: serialised ONNX. x and the same features -> float32 anomaly_map (1, S, S), feature_score
            (1, G, G) and, optional, pixel_score (1, G, G).
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
        if self.threads > 1:
            # OpenCV's idle workers wait spinning, on the cores that onnxruntime's need next, and gain the resize of a
            # frame nothing: 15.5 ms a frame against 12.5 without them (2 threads on 2 x86 cores, 1080p, INT8).
            cv2.setNumThreads(1)
        ort.set_default_logger_severity(_WARNINGS if verbose else _FATAL)
        self._extractor = self._session(extractor, "extractor", verbose)
        self._reconstructor = self._session(reconstructor, "reconstructor", verbose)
        self._check_signature()
        self._between = [node.name for node in self._extractor.get_outputs()]
        self._maps = [node.name for node in self._reconstructor.get_outputs()]

    def close(self) -> None:
        self._extractor = self._reconstructor = None

    def _extract(self, image: Image) -> Tensors:
        return self._run(self._extractor, self._between, {"image": image}, "extractor")

    def _reconstruct(self, inputs: Tensors) -> Tensors:
        return self._run(self._reconstructor, self._maps, inputs, "reconstructor")

    def _run(self, session: Any, outputs: list[str], inputs: Mapping[str, Any], what: str) -> Tensors:
        if session is None:
            raise EngineError("the engine is closed", mend="Open the bundle again")
        # Plain run, not IO binding: with preallocated outputs on both sides bound, the pair took 4.33 ms against
        # 4.38 ms (2 threads, x86, f of 192 x 64 x 64), and the buffers would have to be copied out.
        try:
            return dict(zip(outputs, session.run(outputs, inputs), strict=True))
        except _ORT_ERRORS as error:
            raise self._failed(f"{what} failed", error) from error

    def _session(self, graph: bytes, what: str, verbose: bool) -> Any:
        options = session_options(self.threads, verbose=verbose)
        try:
            return ort.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMISERS
            )
        except _ORT_ERRORS as error:
            raise self._failed(f"{what} cannot be loaded", error) from error

    def _check_signature(self) -> None:
        size = self.input_size
        made, scored = _nodes(self._extractor.get_outputs()), _nodes(self._reconstructor.get_outputs())
        features = {name: _FEATURES for name in made if name != "x"} or {"f": _FEATURES}
        grid = scored.get("feature_score", _MAP)
        maps: _Nodes = {"anomaly_map": ("tensor(float)", [1, size, size]), "feature_score": _square(grid, _MAP)}
        if "pixel_score" in scored:
            maps["pixel_score"] = maps["feature_score"]
        image: _Nodes = {"image": ("tensor(uint8)", [1, size, size, 3])}
        x: _Nodes = {"x": ("tensor(float)", [1, 3, size, size])}
        between: _Nodes = x | {name: _square(made.get(name, form), form) for name, form in features.items()}
        for what, got, expected in (
            ("extractor's inputs are", _nodes(self._extractor.get_inputs()), image),
            ("extractor's outputs are", made, between),
            ("reconstructor's inputs are", _nodes(self._reconstructor.get_inputs()), between),
            ("reconstructor's outputs are", scored, maps),
        ):
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


def _nodes(found: Any) -> _Nodes:
    return {node.name: (node.type, list(node.shape)) for node in found}


def _square(node: _Node, form: _Node) -> _Node:
    """The node's own sizes where it has the form (1, ..., g, g) of float, else the form, for the message."""
    kind, shape = node
    fits = kind == form[0] and len(shape) == len(form[1]) and shape[0] == 1 and shape[-1] == shape[-2]
    return node if fits else form


def _text(nodes: _Nodes) -> str:
    return ", ".join(f"{name} {kind} {shape}" for name, (kind, shape) in nodes.items()) or "none"
