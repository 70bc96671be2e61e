"""Estimates for the variants of a bundle that TensorRT may be given, on boards of the table.

Knows which graph belongs to which variant, and how the answer looks in JSON: "estimate": true in every entry. The
frame's way to the network, its resize on the CPU among it, is not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffad_calibration.roofline.boards import Board, boards_named
from diffad_calibration.roofline.estimate import (
    Assumptions,
    GraphEstimate,
    LayerEstimate,
    Span,
    estimate_graph,
    frames_per_second,
    shares_of,
)
from diffad_calibration.roofline.memory import MemoryGuess, guess_memory
from diffad_calibration.roofline.work import graph_work
from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.choice import runnable
from diffad_runtime.errors import DiffadError, InputError

GRAPHS = ("extractor", "reconstructor")
MEASURED_BY = "diffad-edge bench"
LEFT_OUT = ("capture", "resize of the frame on the CPU", "copies to and from the GPU", "mask and verdict")


@dataclass(frozen=True, slots=True)
class VariantEstimate:
    """One variant on one board.

    Attributes:
        graphs: "extractor" and "reconstructor".
        ms: both, one after the other.
        memory: guessed, to build and to run.
    """

    graphs: dict[str, GraphEstimate]
    ms: Span
    memory: MemoryGuess

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the time, as of a graph."""
        return shares_of([layer for graph in self.graphs.values() for layer in graph.layers])

    def slowest(self, count: int) -> list[tuple[str, LayerEstimate]]:
        """(graph, layer), by the middle of the range, slowest first."""
        layers = [(name, layer) for name, graph in self.graphs.items() for layer in graph.layers]
        return sorted(layers, key=lambda one: -(one[1].ms.low + one[1].ms.high))[:count]

    def to_json(self, layers: int) -> dict[str, Any]:
        """JSON values, the slowest layers among them."""
        return {
            "estimate": True,
            "ms": self.ms.to_json(),
            "frames_per_second": frames_per_second(self.ms).to_json(),
            "shares": self.shares,
            "graphs": {name: graph.to_json() for name, graph in self.graphs.items()},
            "memory": self.memory.to_json(),
            "slowest_layers": [{"graph": graph} | layer.to_json() for graph, layer in self.slowest(layers)],
        }


@dataclass(frozen=True, slots=True)
class BundleEstimate:
    """All variants on all boards.

    Attributes:
        boards: as asked for.
        variants: name -> board's name -> estimate.
        assumptions: what the ranges rest on.
    """

    boards: tuple[Board, ...]
    variants: dict[str, dict[str, VariantEstimate]]
    assumptions: Assumptions

    def to_json(self, layers: int) -> dict[str, Any]:
        """JSON values."""
        return {
            "estimate": True,
            "measured_by": MEASURED_BY,
            "left_out": list(LEFT_OUT),
            "assumptions": {"estimate": True} | self.assumptions.to_json(),
            "boards": {
                board.name: {
                    "estimate": True,
                    "title": board.title,
                    "peak_tops": {"int8": board.int8, "fp16": board.fp16, "tf32": board.tf32, "cuda": board.cuda},
                    "gb_per_s": board.gb_per_s,
                    "memory_gb": board.memory_gb,
                    "source": board.source,
                    "variants": {name: found[board.name].to_json(layers) for name, found in self.variants.items()},
                }
                for board in self.boards
            },
        }


def estimate_bundle(
    bundle: Bundle,
    boards: Sequence[str],
    variants: Sequence[str] | None = None,
    assumptions: Assumptions | None = None,
) -> BundleEstimate:
    """Estimate.

    Args:
        bundle: verified.
        boards: names of the table, or "all".
        variants: None: all that TensorRT may be given.
        assumptions: None: those of the documentation.

    Raises:
        InputError: an unknown board or variant, or one made for the CPU.
        DiffadError: a graph of which a size is not known; the message names it.
    """
    chosen, assumed = boards_named(boards), assumptions or Assumptions()
    return BundleEstimate(
        boards=tuple(chosen),
        variants={name: _variant(bundle, name, chosen, assumed) for name in _names(bundle, variants)},
        assumptions=assumed,
    )


def _names(bundle: Bundle, variants: Sequence[str] | None) -> list[str]:
    fit = runnable(bundle, "tensorrt")
    names = fit if variants is None else list(dict.fromkeys(variants))
    for name in names:
        if (target := bundle.variant(name).target) == "cpu":
            raise InputError(
                f"variant {name!r} is made for {target}, expected one made for tensorrt or any",
                mend=f"Name one of {', '.join(fit)}" if fit else "Export the variant fp32 as well",
            )
    if not names:
        raise InputError(
            f"no variant that TensorRT may be given, the bundle has {', '.join(bundle.manifest.variants)}",
            mend="Export the variant fp32 as well",
        )
    return names


def _variant(
    bundle: Bundle, name: str, boards: Sequence[Board], assumptions: Assumptions
) -> dict[str, VariantEstimate]:
    # As engines are built (diffad_runtime/tensorrt/opening.py): whoever asks for FP32 does not get TF32.
    works, tf32 = {}, bundle.variant(name).precision != "fp32"
    for what, graph in zip(GRAPHS, bundle.graphs(name), strict=True):
        try:
            works[what] = graph_work(graph, tf32=tf32)
        except DiffadError as error:
            raise DiffadError(f"{what}.{name}: {error.what}", mend=error.mend) from error
    found = {}
    for board in boards:
        graphs = {what: estimate_graph(work, board, assumptions) for what, work in works.items()}
        whole = sum((graph.ms for graph in graphs.values()), Span(0.0, 0.0))
        found[board.name] = VariantEstimate(graphs, whole, guess_memory(list(works.values()), board))
    return found
