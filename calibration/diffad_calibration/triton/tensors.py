"""What a graph takes and gives: names, element types and sizes, read from the ONNX file itself.

Knows the onnx package's value infos and Triton's names for types. Does not know what a tensor means.
"""

from dataclasses import dataclass

import numpy as np
import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.triton.pbtxt import Message, Word
from diffad_runtime.engines.signature import Node, Nodes, check_signature
from diffad_runtime.errors import EngineError

_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_EXPORT_AGAIN = "Export the bundle again with 'diffad-edge export'"


@dataclass(frozen=True, slots=True)
class GraphTensors:
    """Of one graph.

    Attributes:
        inputs, outputs: by name, in the file's order: numpy's name of the type, and the sizes.
        opset: version of ONNX's operators that the graph is written in.
    """

    inputs: Nodes
    outputs: Nodes
    opset: int


def tensors_of(graph: bytes, what: str) -> GraphTensors:
    """Read them from a serialised model.

    Args:
        graph: the ONNX file's bytes.
        what: for the message, as in "extractor".

    Raises:
        EngineError: not an ONNX model.
    """
    try:
        model = onnx.load_model_from_string(graph)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its versions
        raise EngineError(
            f"the {what} is not an ONNX model: the bytes cannot be decoded", mend=_EXPORT_AGAIN
        ) from error
    # Old files list their weights among the inputs.
    weights = {weight.name for weight in model.graph.initializer}
    return GraphTensors(
        {value.name: _node(value) for value in model.graph.input if value.name not in weights},
        {value.name: _node(value) for value in model.graph.output},
        max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0),
    )


def check_pair(extractor: GraphTensors, reconstructor: GraphTensors, *, input_size: int, variant: str) -> None:
    """Hold both against the contract of engines/base.py.

    Raises:
        EngineError: other names, types or shapes, or a size that is not fixed.
    """
    check_signature(
        (extractor.inputs, extractor.outputs),
        (reconstructor.inputs, reconstructor.outputs),
        input_size=input_size,
        variant=variant,
    )


def described(nodes: Nodes) -> list[Message]:
    """As Triton's `input` and `output` fields; sizes of all axes, as the models have no batch axis of Triton's."""
    return [
        {"name": name, "data_type": Word(_TYPES[kind]), "dims": [int(side) for side in shape]}
        for name, (kind, shape) in nodes.items()
    ]


def _node(value: onnx.ValueInfoProto) -> Node:
    tensor = value.type.tensor_type
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name if tensor.elem_type else "nothing"
    sides = [side.dim_value if side.HasField("dim_value") else side.dim_param or "?" for side in tensor.shape.dim]
    return kind, sides
