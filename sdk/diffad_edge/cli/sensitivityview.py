"""What rounding each layer does, as a bundle's provenance tells it: the worst of each variant, and which were kept out.

Knows the provenance's keys. Measures nothing; records of another form are passed over.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from diffad_edge.cli.output import table

SHOWN = 5
_FIGURES = ("sqnr_db", "map_noise", "aupro_drop")


def layer_tables(provenance: Mapping[str, Any]) -> Iterator[Any]:
    """One table a variant that was looked at layer by layer."""
    layers, kept = provenance.get("layers"), provenance.get("kept_out_of_int8")
    for name, effects in layers.items() if isinstance(layers, Mapping) else ():
        known = [one for one in effects if _is_effect(one)] if isinstance(effects, list) else []
        if not known:
            continue
        out = _kept(kept, name)
        rows = [
            [
                one["graph"],
                one["weight"],
                f"{one['sqnr_db']:.1f} dB",
                f"{one['map_noise']:.3f}",
                f"{one['aupro_drop']:+.4f}",
                "kept out" if (one["graph"], one["node"]) in out else "",
            ]
            for one in known[:SHOWN]
        ]
        title = f"{name}: of {len(known)} layers in INT8 those whose rounding changes the map most"
        yield table(title, ("graph", "weight", "SQNR", "map noise", "AUPRO lost", ""), rows)


def _is_effect(one: Any) -> bool:
    return (
        isinstance(one, Mapping)
        and all(isinstance(one.get(key), str) for key in ("graph", "node", "weight"))
        and all(isinstance(one.get(key), int | float) for key in _FIGURES)
    )


def _kept(kept: Any, name: str) -> set[tuple[str, str]]:
    own = kept.get(name) if isinstance(kept, Mapping) else None
    if not isinstance(own, Mapping):
        return set()
    return {(str(graph), str(node)) for graph, nodes in own.items() if isinstance(nodes, list) for node in nodes}
