"""Finds data kept outside an ONNX file, without the onnx package.

Knows the protobuf wire format and the few field numbers of onnx.proto3 that lead to tensors: main graph, functions,
training info, subgraphs and tensors in attributes, sparse tensors. Does not know operators, types or shapes.
The walk is bounded in depth; payloads are skipped by their length, never copied.
"""

from diffad_runtime.errors import BundleError

_MAX_DEPTH = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14

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
        BundleError: a tensor keeps its data outside the file, no graph inside, or not protobuf at all.
    """
    view = memoryview(graph)
    if not _scan(view, "Model", name, 0):
        raise BundleError(f"member {name!r} is not an ONNX model: it holds no graph", mend=_MEND)


def _scan(view: memoryview, message: str, name: str, depth: int) -> bool:
    """Whether a child message was met."""
    if depth > _MAX_DEPTH:
        raise BundleError(f"member {name!r} nests graphs deeper than {_MAX_DEPTH} levels", mend=_MEND)
    children = _CHILDREN[message]
    met = False
    at = 0
    while at < len(view):
        key, at = _varint(view, at, name)
        field, wire = key >> 3, key & 7
        value, end = _skip(view, at, wire, name)
        if message == "Tensor" and (
            field == _TENSOR_EXTERNAL_DATA or (field == _TENSOR_DATA_LOCATION and (wire != _VARINT or value != 0))
        ):
            raise BundleError(
                f"member {name!r} keeps tensor data outside the bundle, expected everything inside it",
                mend="Export the graph without external data",
            )
        if field in children:
            if wire != _BYTES:
                raise _malformed(name, at)
            _scan(view[end - value : end], children[field], name, depth + 1)
            met = True
        at = end
    return met


def _skip(view: memoryview, at: int, wire: int, name: str) -> tuple[int, int]:
    """(the number, or the length of the payload; where the field ends)."""
    if wire == _VARINT:
        return _varint(view, at, name)
    if wire == _BYTES:
        length, at = _varint(view, at, name)
    elif wire == _FIXED64:
        length = 8
    elif wire == _FIXED32:
        length = 4
    else:  # groups (3, 4) are not in onnx.proto3; 6 and 7 do not exist
        raise _malformed(name, at)
    if length > len(view) - at:
        raise _malformed(name, at)
    return length, at + length


def _varint(view: memoryview, at: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _malformed(name, at)


def _malformed(name: str, at: int) -> BundleError:
    return BundleError(f"member {name!r} is not an ONNX model: malformed near byte {at} of a message", mend=_MEND)
