"""ONNX graphs as bytes: read and checked, simplified, made ready for a quantiser, and written without leftovers.

Knows onnx and onnxruntime's optimiser. Does not know what a graph computes, nor any precision.
"""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx  # noqa: TID251  calibration is where graphs are edited
import onnxruntime
from onnxruntime.quantization.shape_inference import quant_pre_process

from diffad_runtime.engines.onnxruntime import DISABLED_OPTIMISERS
from diffad_runtime.errors import DiffadError

OPSETS = range(17, 21)


def load(model: bytes) -> onnx.ModelProto:
    """Decode and check.

    Raises:
        DiffadError: not an ONNX graph of opset 17 to 20.
    """
    mend = f"Export it again, with opset {OPSETS[1]}"
    try:
        proto = onnx.load_from_string(model)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its versions
        raise DiffadError("not an ONNX graph: the bytes cannot be decoded", mend=mend) from error
    opset = next((entry.version for entry in proto.opset_import if entry.domain == ""), 0)
    if opset not in OPSETS:
        raise DiffadError(f"the graph has opset {opset}, expected {OPSETS[0]} to {OPSETS[-1]}", mend=mend)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise DiffadError(f"not a valid ONNX graph: {error}", mend=mend) from error
    return proto


def simplify(model: bytes) -> bytes:
    """Fold constants and drop what only the exporter needs: metadata, doc strings, unused operator domains.

    Exporters write source paths and stack traces of the training machine into the metadata; a bundle must not ship
    them.

    Args:
        model: ONNX, no external data.

    Raises:
        DiffadError: not an ONNX graph of opset 17 to 20, or one that onnxruntime refuses.
    """
    load(model)
    return finished(optimised(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC))


def optimised(model: bytes, level: Any) -> onnx.ModelProto:
    """The graph as onnxruntime's optimiser leaves it at that level.

    Raises:
        DiffadError: onnxruntime refuses it.
    """
    with tempfile.TemporaryDirectory(prefix="diffad-") as folder:
        path = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMISERS
            )
        except Exception as error:  # onnxruntime's own exceptions derive from nothing narrower
            raise refused(error) from error
        return onnx.load(path)


def prepared(model: bytes) -> onnx.ModelProto:
    """As a quantiser wants it: constants folded, types and shapes of all tensors inferred, every node named.

    Raises:
        DiffadError: onnxruntime refuses it.
    """
    with tempfile.TemporaryDirectory(prefix="diffad-") as name, quiet():
        folder = Path(name)
        try:
            # By path: given a ModelProto it moves the weights to a file of its own. Symbolic shape inference is for
            # dynamic shapes and leaves a file behind in the working folder.
            (folder / "original.onnx").write_bytes(model)
            quant_pre_process(folder / "original.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        except Exception as error:  # onnxruntime and onnx raise a dozen types here, bare Exception among them
            raise refused(error) from error
        proto = onnx.load(folder / "prepared.onnx")
    for index, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return proto


def finished(proto: onnx.ModelProto) -> bytes:
    """Serialise, the same bytes for the same graph; nothing of the exporter's machine stays inside."""
    used = {node.domain for node in proto.graph.node} | {""}
    for entry in [entry for entry in proto.opset_import if entry.domain not in used]:
        proto.opset_import.remove(entry)
    parts = [proto, proto.graph, *proto.graph.node, *proto.graph.initializer, *proto.graph.value_info]
    for part in [*parts, *proto.graph.input, *proto.graph.output]:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def refused(error: Exception) -> DiffadError:
    """What onnxruntime raised, as one of ours."""
    return DiffadError(
        f"onnxruntime refuses the graph or its inputs: {error}", mend="Check shapes and types of the exported graph"
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """onnxruntime's tools log to the root logger, errors too, and warn, though they raise what matters as well."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
