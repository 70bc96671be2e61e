"""Protobuf as a tree of fields, read from real bytes or made by hand, and written rightly or wrongly.

Knows the wire format and which fields of onnx.proto3 hold messages. Does not know what they mean.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# message -> field -> message inside; wider than what the reader under test looks at.
MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "Opset", 14: "Entry", 20: "Training", 25: "Function"},
    "Opset": {},
    "Entry": {},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 9: "Opset", 11: "Attribute", 12: "ValueInfo"},
    "Graph": {
        1: "Node",
        5: "Tensor",
        11: "ValueInfo",
        12: "ValueInfo",
        13: "ValueInfo",
        14: "Annotation",
        15: "Sparse",
    },
    "Annotation": {2: "Entry"},
    "Node": {5: "Attribute", 9: "Entry"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        14: "Type",
        15: "Type",
        22: "Sparse",
        23: "Sparse",
    },
    "Tensor": {13: "Entry"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "ValueInfo": {2: "Type"},
    "Type": {1: "TensorType", 4: "SequenceType", 9: "SequenceType"},
    "SequenceType": {1: "Type"},
    "TensorType": {2: "Shape"},
    "Shape": {1: "Dimension"},
    "Dimension": {},
}


@dataclass(slots=True)
class Field:
    """One field.

    Attributes:
        number, wire: of the key.
        value: an int, bytes, or the fields of a message.
        message: its name where `value` is a list.
        key: written in place of the right key, as it is.
        length: written in place of the right length.
    """

    number: int
    wire: int
    value: "int | bytes | list[Field]"
    message: str = ""
    key: bytes | None = None
    length: int | None = None


def varint(value: int) -> bytes:
    """The shortest form; negative numbers as 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read(data: bytes, message: str = "Model") -> list[Field]:
    """Fields of valid bytes; payloads that are no message stay bytes."""
    fields, at = [], 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | bytes | list[Field]
        inner = ""
        if wire == VARINT:
            value, at = _varint(data, at)
        else:
            length = {FIXED64: 8, FIXED32: 4}.get(wire, 0)
            if wire == BYTES:
                length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
            inner = MESSAGES[message].get(number, "") if wire == BYTES else ""
            if inner:
                value = read(value, inner)
        fields.append(Field(number, wire, value, inner))
    return fields


def write(fields: list[Field]) -> bytes:
    """Bytes of a message."""
    parts = []
    for field in fields:
        parts.append(varint(field.number << 3 | field.wire) if field.key is None else field.key)
        if isinstance(field.value, int):
            parts.append(varint(field.value))
            continue
        body = write(field.value) if isinstance(field.value, list) else field.value
        if field.wire == BYTES:
            parts.append(varint(len(body) if field.length is None else field.length))
        parts.append(body)
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


# A writer of ONNX, as small as the bases need: no onnx package where a device is fuzzed.

_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7, "bool": 9, "float64": 11}


def text(number: int, value: str) -> Field:
    """A string field."""
    return Field(number, BYTES, value.encode())


def inside(number: int, message: str, fields: list[Field]) -> Field:
    """A message field."""
    return Field(number, BYTES, fields, message)


def tensor(name: str, values: npt.NDArray[Any]) -> list[Field]:
    """TensorProto with raw data."""
    dims = [Field(1, VARINT, side) for side in values.shape]
    kind = Field(2, VARINT, _TYPES[str(values.dtype)])
    return [*dims, kind, text(8, name), Field(9, BYTES, np.ascontiguousarray(values).tobytes())]


def value_info(name: str, kind: str, shape: list[int] | None) -> list[Field]:
    """ValueInfoProto of a tensor of fixed size, or of any."""
    sides = [inside(1, "Dimension", [Field(1, VARINT, side)]) for side in shape or ()]
    of_tensor = [Field(1, VARINT, _TYPES[kind])] + ([] if shape is None else [inside(2, "Shape", sides)])
    return [text(1, name), inside(2, "Type", [inside(1, "TensorType", of_tensor)])]


def node(operator: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> list[Field]:
    """NodeProto; an attribute is an int, a float, text, a list of ints, a tensor (array) or a graph (fields)."""
    fields = [*(text(1, name) for name in inputs), *(text(2, name) for name in outputs), text(4, operator)]
    for name, value in attributes.items():
        fields.append(inside(5, "Attribute", [text(1, name), *_attribute(value)]))
    return [*fields, text(7, domain)] if domain else fields


def graph(
    nodes: list[list[Field]], inputs: list[list[Field]], outputs: list[list[Field]], weights: list[list[Field]]
) -> list[Field]:
    """GraphProto."""
    return [
        *(inside(1, "Node", one) for one in nodes),
        text(2, "g"),
        *(inside(5, "Tensor", one) for one in weights),
        *(inside(11, "ValueInfo", one) for one in inputs),
        *(inside(12, "ValueInfo", one) for one in outputs),
    ]


def model(of: list[Field], *more: Field, opset: int = 17) -> list[Field]:
    """ModelProto of IR version 9."""
    return [Field(1, VARINT, 9), inside(7, "Graph", of), inside(8, "Opset", [Field(2, VARINT, opset)]), *more]


def _attribute(value: Any) -> list[Field]:
    if isinstance(value, int):
        return [Field(3, VARINT, value), Field(20, VARINT, 2)]
    if isinstance(value, float):
        return [Field(2, FIXED32, struct.pack("<f", value)), Field(20, VARINT, 1)]
    if isinstance(value, str):
        return [text(4, value), Field(20, VARINT, 3)]
    if isinstance(value, np.ndarray):
        return [inside(5, "Tensor", tensor("", value)), Field(20, VARINT, 4)]
    if value and isinstance(value[0], Field):
        return [inside(6, "Graph", value), Field(20, VARINT, 5)]
    return [*(Field(8, VARINT, one) for one in value), Field(20, VARINT, 7)]
