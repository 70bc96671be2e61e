"""Parses and builds a graph with TensorRT-RTX, no GPU needed, and hands on what its builder reports.

Knows the Python API of tensorrt_rtx, imported only when asked for. Does not know what the layers mean (report.py).

TensorRT-RTX has TensorRT's parser, a younger one than the Jetsons have, and builds for desktop GPUs. What it refuses
is wrong; what it accepts must still pass the lint, which knows the older parser's limits.
"""

import importlib
import time
from typing import Any

import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.oracle.layertext import parse_layers
from diffad_calibration.oracle.report import LayerReport, make_report
from diffad_runtime.errors import GateError, MissingExtraError

EXTRA = "oracle"
# Kernels are chosen for this GPU on every machine, also where one is built in. Orin has compute capability 8.7,
# which TensorRT-RTX does not know; 8.6 is the nearest.
COMPUTE_CAPABILITY = "SM86"


def available() -> bool:
    """True where the parser and builder can be loaded."""
    try:
        _module()
    except MissingExtraError:
        return False
    return True


def version() -> str:
    """As in "1.7.1.116".

    Raises:
        MissingExtraError: tensorrt_rtx is not installed.
    """
    return str(_module().__version__)


def build_report(model: bytes, name: str) -> LayerReport:
    """Build an engine, throw it away and keep what the builder said about it.

    Args:
        model: ONNX, static shapes, no external data. Types are taken from the graph alone (strongly typed network).
        name: for the report and for messages, as in "reconstructor.int8-trt".

    Raises:
        MissingExtraError: tensorrt_rtx is not installed.
        GateError: the parser or the builder refuses the graph; the message names the nodes.
        DiffadError: the builder's list of layers cannot be read.
    """
    trt = _module()
    named = _named(model, name)
    log, started = _logger(trt), time.perf_counter()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(named.SerializeToString()):
        raise _refused("parser", name, _parser_errors(parser) or log.errors)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, COMPUTE_CAPABILITY), 0)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refused("builder", name, log.errors)
    return make_report(
        named,
        parse_layers("\n".join(log.lines)),
        name=name,
        builder=f"TensorRT-RTX {trt.__version__}, {COMPUTE_CAPABILITY}",
        plan_bytes=int(plan.nbytes),
        build_s=time.perf_counter() - started,
    )


def _module() -> Any:
    try:
        return importlib.import_module("tensorrt_rtx")
    except (ImportError, OSError) as error:  # OSError: a shared library that cannot be loaded
        raise MissingExtraError("tensorrt_rtx", extra=EXTRA, purpose="the layer report") from error


def _named(model: bytes, name: str) -> onnx.ModelProto:
    """The report is read by node names, so each node needs one of its own."""
    try:
        proto = onnx.load_from_string(model)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its versions
        raise GateError(f"{name} is not an ONNX graph: the bytes cannot be decoded", mend="Export it again") from error
    taken: set[str] = set()
    for index, node in enumerate(proto.graph.node):
        if not node.name or node.name in taken or "[" in node.name or "]" in node.name:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)
    return proto


def _logger(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]  # its base is known only where the package is installed
        """Keeps every message; writes none, as the builder logs errors that it does not mind itself."""

        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self.lines.append(message)
            if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
                self.errors.append(message)

    return Log()


def _parser_errors(parser: Any) -> list[str]:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [f"{error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors]


def _refused(who: str, name: str, errors: list[str]) -> GateError:
    lines = [line.strip() for error in errors for line in error.splitlines()]
    about = [line for line in lines if line and "cuda" not in line.lower()]  # a missing driver is no fault of the graph
    return GateError(
        f"TensorRT's {who} refuses {name}: {'; '.join(about[:3]) or 'it gave no reason'}",
        mend="Change the node named, or keep it out of the quantised part, and export again",
    )
