"""The table of rules, and a graph held against those of its target.

Knows which rule holds for which family of backends. The rules themselves are in structure.py, tensorrt_parser.py and
qdq.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.lint import qdq, structure, tensorrt_parser
from diffad_calibration.lint.finding import Finding
from diffad_calibration.lint.graphview import GraphView, view
from diffad_calibration.lint.structure import Breach
from diffad_runtime.errors import GateError, InputError

Target = Literal["any", "cpu", "tensorrt"]
TARGETS: Final[tuple[str, ...]] = get_args(Target)
_ALL, _TRT, _QDQ = frozenset(TARGETS), frozenset({"any", "tensorrt"}), frozenset({"cpu", "tensorrt"})
_TENSORRT, _CPU, _ANY = frozenset({"tensorrt"}), frozenset({"cpu"}), frozenset({"any"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: as findings have it.
        targets: "any" is a graph that every backend runs, so it must please them all.
        check: yields (where, what) for each breach.
        mend: what to do about one.
    """

    name: str
    targets: frozenset[str]
    check: Callable[[GraphView], Iterator[Breach]]
    mend: str


# A file that breaks one of these is not looked at further: the rest would only repeat it in other words.
FIRST: Final = (
    Rule("external-data", _ALL, structure.external_data, "Save the graph as one file"),
    Rule("opset", _ALL, structure.opset, "Export with opset 18"),
    Rule("domain", _ALL, structure.domain, "Export with ONNX's own operators only"),
    Rule("mixed-types", _ALL, structure.mixed_types, "Put a Cast before one of the inputs"),
    Rule("valid", _ALL, structure.valid, "Export the graph again"),
)
THEN: Final = (
    Rule("static-shape", _ALL, structure.static_shape, "Export with fixed sizes"),
    Rule("batch", _ALL, structure.batch, "Export with batch 1"),
    Rule("finite", _ALL, structure.finite, "Keep this node in FP32, or train again if FP32 has it too"),
    Rule("operator", _TRT, tensorrt_parser.operator, "Write it with operators that are on the list"),
    Rule("operator-type", _TRT, tensorrt_parser.operator_type, "Put a Cast before it"),
    Rule("element-type", _TRT, tensorrt_parser.element_type, "Export in FLOAT, FLOAT16 or INT64"),
    Rule("uint8", _TRT, tensorrt_parser.uint8, "Let Cast be the first to read a UINT8 network input"),
    Rule("resize", _TRT, tensorrt_parser.resize, "Use a mode of that list, without antialias"),
    Rule("pooling", _TRT, tensorrt_parser.pooling, "Pool in 2D, plainly"),
    Rule("constant-inputs", _TRT, tensorrt_parser.constant_inputs, "Fold constants before export"),
    Rule("not-quantised", _ANY, qdq.not_quantised, "State the target that the graph was quantised for"),
    Rule("uint8-activations", _TENSORRT, qdq.uint8_activations, "Quantise with int8 activations, symmetric"),
    Rule("zero-point", _TENSORRT, qdq.zero_point_everywhere, "Quantise symmetrically"),
    Rule("zero-point", _CPU, qdq.zero_point_of_weights, "Quantise weights symmetrically"),
    Rule("int32-bias", _TENSORRT, qdq.int32_bias, "Quantise without biases"),
    Rule("quantised-constant", _TENSORRT, qdq.quantised_constant, "Quantise activations and weights only"),
    Rule("scale", _QDQ, qdq.scale, "Calibrate again; a range must not be empty"),
    Rule("channel-scale", _QDQ, qdq.channel_scale, "One scale an activation, weights along output channels"),
    Rule("pairs", _QDQ, qdq.pairs, "Keep Q and DQ together"),
    Rule("half-quantised", _TENSORRT, qdq.half_quantised, "Quantise input and weight, or keep the node in float"),
    Rule("half-quantised", _CPU, qdq.float_input, "Quantise the input too, or keep the node in float"),
    Rule("int8-activations", _CPU, qdq.int8_activations, "Quantise with uint8 activations"),
    Rule("int8-weights", _CPU, qdq.int8_weights, "Quantise with int8 weights"),
)
RULES: Final[tuple[Rule, ...]] = (*FIRST, *THEN)


def lint(model: bytes, target: str) -> list[Finding]:
    """Hold a graph against the rules of its target.

    Args:
        model: ONNX.
        target: "any", "cpu" or "tensorrt", as a variant of the manifest says.

    Returns:
        Breaches in order of the table, none for a good graph.

    Raises:
        InputError: another target.
    """
    if target not in TARGETS:
        raise InputError(f"target {target!r}, expected {', '.join(TARGETS)}", mend="Give one of these")
    try:
        seen = view(onnx.load_from_string(model))
    except Exception:  # protobuf's DecodeError, whose module differs between its versions; names that are no UTF-8
        return [Finding("valid", "graph", "not an ONNX graph: the bytes cannot be decoded", FIRST[-1].mend)]
    for rule in FIRST:
        if found := _findings(rule, seen, target):
            return found
    return [finding for rule in THEN for finding in _findings(rule, seen, target)]


def check_lint(model: bytes, target: str, name: str) -> None:
    """Refuse a graph with findings.

    Args:
        model: ONNX.
        target: "any", "cpu" or "tensorrt".
        name: of the graph, for the message, as in "reconstructor.int8-trt".

    Raises:
        GateError: a rule is broken; the message has rule, node and mend.
        InputError: another target.
    """
    refuse(lint(model, target), f"{name} is not fit for target {target!r}")


def refuse(findings: list[Finding], what: str) -> None:
    """Raise where there is a finding; the first of each rule, up to three rules, go into the message.

    Raises:
        GateError: there is one.
    """
    if not findings:
        return
    firsts = list({finding.rule: finding for finding in reversed(findings)}.values())[::-1][:3]
    raise GateError(
        f"{what}: {'; '.join(str(finding) for finding in firsts)} ({len(findings)} findings)",
        mend="; ".join(dict.fromkeys(finding.mend for finding in firsts)),
    )


def _findings(rule: Rule, seen: GraphView, target: str) -> list[Finding]:
    if target not in rule.targets:
        return []
    return [Finding(rule.name, where, what, rule.mend) for where, what in rule.check(seen)]
