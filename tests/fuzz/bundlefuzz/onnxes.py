"""Graphs with any field wrong and all others right, or too heavy ones in their place (heavy.py).

Knows onnx.proto3's fields. Does not know what any engine does with them.
"""

import random
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache

from bundlefuzz import wire
from bundlefuzz.heavy import HEAVY, heavy
from bundlefuzz.wire import BYTES, FIXED32, VARINT, Field

NUMBERS = (
    0, 1, 2, 3, 4, 7, 8, 10, 16, 64, 255, -1, -2, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 40, 1 << 62,
    (1 << 63) - 1, 1 << 63,
)  # fmt: skip
OPERATORS = (
    "Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Mul", "Div", "Resize", "Upsample", "Expand", "Tile", "Pad",
    "Range", "ConstantOfShape", "Reshape", "Slice", "Split", "Concat", "Gather", "GatherND", "ScatterND",
    "ScatterElements", "OneHot", "Loop", "If", "Scan", "TopK", "NonMaxSuppression", "EyeLike", "RandomNormal",
    "Einsum", "CumSum", "DepthToSpace", "SpaceToDepth", "MaxPool", "AveragePool", "LpPool", "MaxUnpool",
    "GlobalAveragePool", "InstanceNormalization", "LSTM", "GRU", "RNN", "RoiAlign", "GridSample", "DFT", "STFT",
    "MelWeightMatrix", "StringNormalizer", "TfIdfVectorizer", "Unique", "Compress", "QuantizeLinear",
    "DequantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv", "SequenceConstruct", "Optional", "Identity",
    "Constant", "Shape", "Cast", "Transpose", "Squeeze", "Unsqueeze", "Softmax", "Where", "Clip", "ReduceMean",
    "ReduceSum", "ArgMax", "Exp", "BatchNormalization", "ImageDecoder", "NoSuchOperator", "EPContext", "QLinearAdd",
    "FusedConv", "Attention", "SkipLayerNormalization", "Inverse", "BifurcationDetector", "SparseAttention", "",
)  # fmt: skip
STRINGS = (
    b"", b"x", b"f", b"image", b"w", b"\xff\xfe", b"a\0b", b"x" * 3000, b"../../etc/passwd", b"/etc/passwd",
    b"com.microsoft", b"ai.onnx.ml", b"ai.onnx.training", b"linear", b"cubic", b"nearest", b"SAME_UPPER",
    b"tf_crop_and_resize", b"location", b"*/_ORT_MEM_ADDR_/*",
)  # fmt: skip


def mutate(rng: random.Random, graph: bytes) -> bytes:
    """One to four fields changed, or one of HEAVY put in the graph's place."""
    if rng.random() < 0.12:
        return heavy(rng.choice(list(HEAVY)))
    model = _copy(_read(graph))
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change(rng, model)
    return wire.write(model)


@lru_cache(maxsize=8)
def _read(graph: bytes) -> list[Field]:
    return wire.read(graph)


def _change(rng: random.Random, model: list[Field]) -> None:
    holders = list(_messages(model, "Model"))
    # As often as a kind of message occurs, a weight has its turn more often than a graph: so kinds first.
    wanted = rng.choice(sorted({message for _, message in holders}))
    holder, message = rng.choice([one for one in holders if one[1] == wanted])
    if not holder:
        return
    at = rng.randrange(len(holder))
    field = holder[at]
    kind = rng.randrange(12)
    if kind <= 4 and isinstance(field.value, int):
        field.value = rng.choice((*NUMBERS, field.value + 1, field.value * 2, -field.value))
    elif kind <= 4 and isinstance(field.value, bytes):
        field.value = _bytes(rng, field, message, model)
    elif kind == 5:
        del holder[at]
    elif kind == 6:
        holder.insert(rng.randrange(len(holder) + 1), field)
    elif kind == 7:
        others = [one for one, name in holders if name == message and one is not holder]
        if others and (other := rng.choice(others)):
            holder[at] = _copy([rng.choice(other)])[0]
    elif kind == 8:
        field.number = rng.choice((0, 1, 5, 6, 8, 13, 14, 20, 100, (1 << 29) - 1))
        field.message = field.message if isinstance(field.value, list) else ""
    elif kind == 9:
        field.length = rng.choice((0, 1, 5, 127, 128, 1 << 20, (1 << 31) - 1, (1 << 64) - 1))
    elif kind == 10:
        holder.insert(at, rng.choice(EXTRA)())
    else:
        rng.shuffle(holder)


def _bytes(rng: random.Random, field: Field, message: str, model: list[Field]) -> bytes:
    assert isinstance(field.value, bytes)
    if message == "Node" and field.number == 4:
        return rng.choice(OPERATORS).encode()
    if message == "Node" and field.number in {1, 2}:
        names = [
            one.value
            for fields, name in _messages(model, "Model")
            if name == "Node"
            for one in fields
            if one.number in {1, 2}
        ]
        return bytes(rng.choice(names)) if names and rng.random() < 0.7 else rng.choice(STRINGS)  # type: ignore[arg-type]
    if field.wire == FIXED32:
        return struct.pack("<f", rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf"))))
    if message == "Tensor" and field.number == 9:
        size = len(field.value)
        return rng.choice(
            (
                field.value[: size // 2],
                field.value * 2,
                b"\xff" * size,
                bytes(size),
                rng.randbytes(size),
                struct.pack("<q", rng.choice(NUMBERS[:-1])) * (size // 8),
            )
        )
    return rng.choice(STRINGS)


def _messages(fields: list[Field], message: str) -> Iterator[tuple[list[Field], str]]:
    yield fields, message
    for field in fields:
        if isinstance(field.value, list):
            yield from _messages(field.value, field.message)


def _copy(fields: list[Field]) -> list[Field]:
    return [
        Field(
            one.number,
            one.wire,
            _copy(one.value) if isinstance(one.value, list) else one.value,
            one.message,
            one.key,
            one.length,
        )
        for one in fields
    ]


def _outside(key: bytes | None = None) -> Field:
    """data_location = EXTERNAL, of a tensor; its key may be written in more bytes than it takes."""
    return Field(14, VARINT, 1, key=key)


def _entry(key: str, value: str) -> Field:
    return wire.inside(13, "Entry", [wire.text(1, key), wire.text(2, value)])


# 14 << 3 and 13 << 3 | 2 in five bytes, with a bit above the 32 that protobuf's own readers keep of a key.
LONG_LOCATION, LONG_ENTRY = b"\xf0\x80\x80\x80\x10", b"\xea\x80\x80\x80\x10"

EXTRA: tuple[Callable[[], Field], ...] = (
    _outside,
    lambda: _outside(LONG_LOCATION),
    lambda: _entry("location", "/etc/passwd"),
    lambda: Field(13, BYTES, b"\x0a\x08location\x12\x0b/etc/passwd", key=LONG_ENTRY),
    lambda: Field(1, VARINT, 1 << 40),
    lambda: Field(99, BYTES, b"unknown"),
    lambda: Field(3, 3, b""),
    lambda: wire.inside(5, "Attribute", [wire.text(1, "group"), Field(3, VARINT, 0), Field(20, VARINT, 2)]),
    lambda: wire.inside(5, "Attribute", [wire.text(1, "strides"), Field(8, VARINT, 0), Field(20, VARINT, 7)]),
    lambda: wire.inside(
        5, "Attribute", [wire.text(1, "kernel_shape"), Field(8, VARINT, 1 << 40), Field(20, VARINT, 7)]
    ),
    lambda: wire.inside(5, "Attribute", [wire.text(1, "axis"), Field(3, VARINT, -(1 << 63)), Field(20, VARINT, 2)]),
)
