"""The numbers of a simulated engine: ONNX Runtime's, from the bytes that lie at its addresses.

Knows sessions. Does not know streams or plans. The sessions are made as those of the product's own ONNX Runtime engine
with one thread, so that both give the same bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from diffad_runtime.engines.onnxruntime import DISABLED_OPTIMISERS, session_options

_WORDS = {"float": "float32", "float16": "float16", "double": "float64"}


@dataclass(frozen=True)
class Node:
    """An input or an output."""

    name: str
    kind: str
    shape: tuple[int, ...]
    is_input: bool

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.kind).itemsize


@lru_cache(maxsize=16)
def session(onnx: bytes) -> Any:
    """An InferenceSession; raises what onnxruntime raises."""
    return onnxruntime.InferenceSession(
        onnx, session_options(1), providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMISERS
    )


def nodes(onnx: bytes) -> tuple[Node, ...]:
    """Inputs, then outputs, in the graph's order."""
    made = session(onnx)
    sides = [(node, True) for node in made.get_inputs()] + [(node, False) for node in made.get_outputs()]
    return tuple(
        Node(node.name, _kind(node.type), tuple(int(side) for side in node.shape), is_input) for node, is_input in sides
    )


def compute(onnx: bytes, memory: Mapping[str, npt.NDArray[np.uint8]], scale: float = 1.0, *, nan: bool = False) -> None:
    """Read inputs and write outputs in place.

    Args:
        memory: the bytes of each node.
        scale, nan: spoil outputs in floating point.
    """
    known = nodes(onnx)
    given = {one.name: memory[one.name].view(one.kind).reshape(one.shape) for one in known if one.is_input}
    outputs = [one for one in known if not one.is_input]
    values = session(onnx).run([one.name for one in outputs], given)
    for one, value in zip(outputs, values, strict=True):
        if value.dtype.kind == "f":
            value = value * value.dtype.type(scale) if scale != 1.0 else value  # noqa: PLW2901
            if nan:
                value.flat[0] = np.nan
        memory[one.name][...] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)


def _kind(text: str) -> str:
    word = text.removeprefix("tensor(").removesuffix(")")
    return _WORDS.get(word, word)
