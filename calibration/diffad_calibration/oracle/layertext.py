"""The text in which TensorRT's builder lists the layers of an engine, as records.

Knows the form of that text. Does not know the ONNX graph behind it, nor what the kinds of layers mean. Needs no
TensorRT. The text is written for people and has no specification, so whatever does not read as a layer is an error
rather than a layer left out.
"""

import math
import re
from dataclasses import dataclass

from diffad_runtime.errors import DiffadError

BYTES = {
    "Float": 4,
    "Half": 2,
    "BFloat16": 2,
    "Int8": 1,
    "UInt8": 1,
    "FP8": 1,
    "Bool": 1,
    "Int32": 4,
    "Int64": 8,
}
_HEADING = re.compile(r"(?:^|\n)Layers:\s*\n")
_SECTIONS = re.compile(r", (Inputs|Constants|Outputs|TacticName|StreamId|Metadata): ?")
_TENSOR = re.compile(r"\{ Name: (?P<name>.*?), Dimensions: \[(?P<shape>[\d,\- ]*)\].*?, Datatype: (?P<type>\w+)[,} ]")
_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\[\x1e\s]|$)")
_CUT = "Layer text cannot be read; this version of TensorRT may write it in another form"


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a kernel reads or writes.

    Attributes:
        name: TensorRT's name; the graph's own for inputs and outputs of the engine.
        type: TensorRT's word: "Float", "Half", "Int8", ...
        shape: sizes, batch first, as the ONNX graph counts them.
    """

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size in memory, without padding; 0 where the type's width is unknown."""
        return math.prod(self.shape) * BYTES.get(self.type, 0)


@dataclass(frozen=True, slots=True)
class Layer:
    """One kernel, or one event between streams.

    Attributes:
        name: TensorRT's name.
        kind: TensorRT's word: "correlation" (a convolution), "kgen" (a generated kernel), "gemm", "signal", ...
        inputs: activations that are read.
        constants: weights, scales and biases that are read.
        outputs: what is written.
        nodes: names of the ONNX nodes that went in, as far as the text says.
    """

    name: str
    kind: str
    inputs: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[str, ...]


def parse_layers(log: str) -> list[Layer]:
    """Layers of an engine in order of execution.

    Args:
        log: everything a builder logged at level VERBOSE, built with detailed profiling verbosity; messages apart by
            newlines.

    Raises:
        DiffadError: no list of layers in the text, or a line of it that is not understood.
    """
    headings = list(_HEADING.finditer(log))
    if not headings:
        raise DiffadError(
            "the builder's log holds no list of layers, expected a line 'Layers:'",
            mend="Build with a VERBOSE logger and detailed profiling verbosity",
        )
    block = log[headings[-1].end() :].split("\n\n", 1)[0]  # an empty line ends the list
    lines = [line for line in block.split("\n") if line.strip()]  # splitlines would cut at \x1e too
    if not lines:
        raise DiffadError("the builder's list of layers is empty", mend=_CUT)
    return [_layer(line) for line in lines]


def _layer(line: str) -> Layer:
    head, *rest = _SECTIONS.split(line)
    named = re.fullmatch(r"Name: (?P<name>.*), LayerType: (?P<kind>\w+)", head)
    if named is None:
        raise DiffadError(f"expected 'Name: ..., LayerType: ...' but the builder wrote {line[:80]!r}", mend=_CUT)
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    if not {"Inputs", "Outputs"} <= set(parts):
        raise DiffadError(f"layer {named['name']!r} has no list of inputs or of outputs", mend=_CUT)
    inputs, constants, outputs = (_tensors(parts.get(key, ""), line) for key in ("Inputs", "Constants", "Outputs"))
    nodes = tuple(_NODE.findall(parts.get("Metadata", "").strip()))
    return Layer(named["name"], named["kind"], inputs, constants, outputs, nodes)


def _tensors(text: str, line: str) -> tuple[Tensor, ...]:
    found = [
        Tensor(match["name"], match["type"], tuple(int(size) for size in match["shape"].split(",") if size.strip()))
        for match in _TENSOR.finditer(text)
    ]
    if len(found) != text.count("{ Name: "):
        raise DiffadError(f"a tensor without name, dimensions or type in {line[:80]!r}", mend=_CUT)
    return tuple(found)
