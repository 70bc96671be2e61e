"""Finds data kept outside an ONNX file, without the onnx package.

Knows the few field numbers of onnx.proto3 that lead to tensors: main graph, functions, training info, subgraphs and
tensors in attributes, sparse tensors. Does not know the wire format (protobuf.py), operators, types or shapes.
The walk is bounded in depth and in fields; payloads are skipped by their length, never copied.
"""

from diffad_runtime.bundle.protobuf import BYTES, VARINT, Wire
from diffad_runtime.errors import BundleError

_MAX_DEPTH = 64
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
# A file may be protobuf and begin like this too: onnxruntime would then read it in a format that nobody looked at here.
_ORT_MARK = b"ORTM"

# message -> field number -> message inside (onnx/onnx.proto3)
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_MEND = "Export the bundle again with 'diffad-edge export'"


def check_onnx(graph: bytes | memoryview, name: str) -> None:
    """Walk a ModelProto.

    Args:
        graph: the serialised model.
        name: of the bundle member, for messages.

    Raises:
        BundleError: a tensor keeps its data outside the file, no graph inside, another format, or not protobuf at all.
    """
    view = memoryview(graph)
    if view[4:8] == _ORT_MARK:
        raise BundleError(f"member {name!r} is in onnxruntime's own format, expected ONNX", mend=_MEND)
    if not _scan(view, "Model", Wire(name), 0):
        raise BundleError(f"member {name!r} is not an ONNX model: it holds no graph", mend=_MEND)


def _scan(view: memoryview, message: str, wire: Wire, depth: int) -> bool:
    """Whether a child message was met."""
    if depth > _MAX_DEPTH:
        raise BundleError(f"member {wire.name!r} nests graphs deeper than {_MAX_DEPTH} levels", mend=_MEND)
    children = _CHILDREN[message]
    met = False
    for field, kind, value, payload in wire.fields(view):
        if message == "Tensor" and (
            field == _TENSOR_EXTERNAL_DATA or (field == _TENSOR_DATA_LOCATION and (kind != VARINT or value != 0))
        ):
            raise BundleError(
                f"member {wire.name!r} keeps tensor data outside the bundle, expected everything inside it",
                mend="Export the graph without external data",
            )
        if field in children:
            if kind != BYTES:
                raise wire.malformed(0)
            _scan(payload, children[field], wire, depth + 1)
            met = True
    return met
