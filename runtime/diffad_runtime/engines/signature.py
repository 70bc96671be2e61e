"""What the two graphs of a variant take and give, and whether an engine made of them does.

Knows names, types and shapes. Does not know any inference library.
"""

from collections.abc import Sequence

from diffad_runtime.errors import EngineError

Node = tuple[str, Sequence[int | str]]
"""numpy's name of the type; shape, where a name in place of a number means a size that is not fixed."""

Nodes = dict[str, Node]

_FEATURES: Node = ("float32", [1, "C", "g", "g"])
_MAP: Node = ("float32", [1, "G", "G"])


def check_signature(
    extractor: tuple[Nodes, Nodes], reconstructor: tuple[Nodes, Nodes], *, input_size: int, variant: str
) -> None:
    """Hold (inputs, outputs) of both graphs against the contract of engines/base.py.

    Args:
        input_size: S.
        variant: for the message.

    Raises:
        EngineError: other names, types or shapes, or a size that is not fixed.
    """
    size = input_size
    made, scored = extractor[1], reconstructor[1]
    features = {name: _FEATURES for name in made if name != "x"} or {"f": _FEATURES}
    maps: Nodes = {
        "anomaly_map": ("float32", [1, size, size]),
        "feature_score": _square(scored.get("feature_score", _MAP), _MAP),
    }
    if "pixel_score" in scored:
        maps["pixel_score"] = maps["feature_score"]
    image: Nodes = {"image": ("uint8", [1, size, size, 3])}
    x: Nodes = {"x": ("float32", [1, 3, size, size])}
    between: Nodes = x | {name: _square(made.get(name, form), form) for name, form in features.items()}
    for what, got, expected in (
        ("extractor's inputs are", extractor[0], image),
        ("extractor's outputs are", made, between),
        ("reconstructor's inputs are", reconstructor[0], between),
        ("reconstructor's outputs are", scored, maps),
    ):
        fixed = all(isinstance(side, int) for _, shape in got.values() for side in shape)
        if _plain(got) != _plain(expected) or not fixed:
            raise EngineError(
                f"variant {variant!r}: the {what} {_text(got)}, expected {_text(expected)}, of fixed size",
                mend="Export the bundle again with 'diffad-edge export', or run another variant",
            )


def _square(node: Node, form: Node) -> Node:
    """The node's own sizes where it has the form (1, ..., g, g) of float32, else the form, for the message."""
    kind, shape = node
    fits = kind == form[0] and len(shape) == len(form[1]) and shape[0] == 1 and shape[-1] == shape[-2]
    return node if fits else form


def _plain(nodes: Nodes) -> dict[str, tuple[str, list[int | str]]]:
    return {name: (kind, list(shape)) for name, (kind, shape) in nodes.items()}


def _text(nodes: Nodes) -> str:
    return ", ".join(f"{name} {kind} {list(shape)}" for name, (kind, shape) in nodes.items()) or "none"
