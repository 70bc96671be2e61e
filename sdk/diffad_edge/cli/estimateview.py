"""An estimate as tables: one for each variant, the slowest layers, memory. Every title says that it is an estimate.

Knows words and units. Does not estimate anything.
"""

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from diffad_edge.cli.output import facts, size, stdout, table

if TYPE_CHECKING:
    from diffad_calibration.roofline import (
        Assumptions,
        Board,
        BundleEstimate,
        GraphEstimate,
        LayerEstimate,
        MemoryGuess,
        Span,
        VariantEstimate,
    )

_NAME = 28  # letters of a layer's name; the end of a long one says more than its start


def show_estimate(found: "BundleEstimate", layers: int) -> None:
    """Print the headline and what it rests on, a table for each variant, `layers` slowest layers of each, memory."""
    console = stdout()
    console.print(Text("ESTIMATE, nothing here is measured: a roofline from the graphs", style="bold"))
    console.print("Only 'diffad-edge bench' on the board measures.")
    console.print(facts(_assumptions(found)))
    console.print()
    console.print(_boards(found.boards))
    for name, boards in found.variants.items():
        console.print()
        console.print(_variant(name, found.boards, boards))
        for board in found.boards if layers else ():
            slowest = boards[board.name].slowest(layers)
            console.print(_layers(f"ESTIMATE, {name}: slowest layers on {board.name}", slowest))
    guessed = sorted({operator for graph in _graphs(found) for operator in graph.work.guessed})
    if guessed:
        console.print(f"Operations not known, counted as one a value: {', '.join(guessed)}", style="dim")
    console.print()
    console.print(_memory(found))
    console.print("guessed for both engines; the board's memory less what its system takes", style="dim")


def _assumptions(found: "BundleEstimate") -> list[tuple[str, str]]:
    from diffad_calibration.roofline import LEFT_OUT  # noqa: PLC0415  needs onnx, which is there by now

    assumed: Assumptions = found.assumptions
    shares = [
        f"{word} {_percent(span)}"
        for word, span in (
            ("INT8", assumed.int8),
            ("FP16", assumed.fp16),
            ("TF32", assumed.tf32),
            ("FP32 on CUDA cores", assumed.fp32),
            ("all else on CUDA cores", assumed.cuda),
        )
    ]
    return [
        ("assumed", f"of the peak: {', '.join(shares)}"),
        ("", f"of the bandwidth: {_percent(assumed.memory)}; no caches"),
        ("", f"for each kernel: {assumed.launch_us.low:g} to {assumed.launch_us.high:g} microseconds beside its work"),
        ("", "INT8: a second kernel behind each convolution at the slow end"),
        ("left out", ", ".join(LEFT_OUT)),
    ]


def _boards(boards: "tuple[Board, ...]") -> Table:
    columns = ("board", "INT8", "FP16", "TF32", "CUDA cores", "GB/s", "source")
    rows = [
        [
            board.name,
            *(f"{value:.3g}" for value in (board.int8, board.fp16, board.tf32, board.cuda, board.gb_per_s)),
            board.source,
        ]
        for board in boards
    ]
    return table("Peaks, 1e12 operations a second; [D] data sheet, [I] inferred", columns, rows)


def _variant(name: str, boards: "tuple[Board, ...]", found: "dict[str, VariantEstimate]") -> Table:
    columns = ("", "GOP", "MB", "kernels", "ms", "frames/s", "bound by")
    rows = []
    for board in boards:
        one = found[board.name]
        rows.append([board.name, *[""] * 6])
        rows += [[f" {what}", *_work([graph]), *_time(graph.ms, graph.shares)] for what, graph in one.graphs.items()]
        rows.append([" both", *_work([*one.graphs.values()]), *_time(one.ms, one.shares)])
    made = table(f"ESTIMATE, variant {name}: operations, bytes moved, time", columns, rows)
    made.columns[0].no_wrap = True
    return made


def _work(graphs: "list[GraphEstimate]") -> list[str]:
    works = [graph.work for graph in graphs]
    moved = [sum(work.moved[end] for work in works) / 1e6 for end in (0, 1)]
    kernels = [str(sum(work.launches[end] for work in works)) for end in (0, 1)]
    return [
        _figures(sum(work.total for work in works) / 1e9),
        _ends(_figures(moved[0]), _figures(moved[1])),
        _ends(kernels[0], kernels[1]),
    ]


def _time(ms: "Span", shares: dict[str, float]) -> list[str]:
    from diffad_calibration.roofline import frames_per_second  # noqa: PLC0415  as above

    term = max(shares, key=lambda name: shares[name])
    return [_between(ms), _between(frames_per_second(ms)), f"{term} {shares[term]:.0%}"]


def _layers(title: str, slowest: "list[tuple[str, LayerEstimate]]") -> Table:
    columns = ("layer", "of", "MOP", "moved", "OP/B", "ms", "bound by")
    rows = [
        [
            _short(layer.kernel.name),
            f"{graph[:5]}. {layer.kernel.kind}",
            f"{layer.kernel.total / 1e6:.1f}",
            size(layer.kernel.moved),
            f"{layer.kernel.intensity:.1f}",
            _between(layer.ms),
            layer.bound,
        ]
        for graph, layer in slowest
    ]
    return table(title, columns, rows, left=2)


def _memory(found: "BundleEstimate") -> Table:
    from diffad_calibration.roofline import FITS  # noqa: PLC0415  as above

    columns = ("board", "variant", "plans, MB", "run, MB", "build, MB", "free, MB", "building")
    rows = []
    for board in found.boards:
        for name, boards in found.variants.items():
            guess: MemoryGuess = boards[board.name].memory
            spans = (guess.plan_mb, guess.run_mb, guess.build_mb, guess.free_mb)
            rows.append([board.name, name, *[_between(span) for span in spans], FITS[guess.fits]])
    return table("ESTIMATE, memory", columns, rows, left=2)


def _graphs(found: "BundleEstimate") -> "list[GraphEstimate]":
    return [graph for boards in found.variants.values() for one in boards.values() for graph in one.graphs.values()]


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"


def _percent(span: "Span") -> str:
    return f"{100 * span.low:.0f} to {100 * span.high:.0f} %"


def _between(span: "Span") -> str:
    return _ends(_figures(span.low), _figures(span.high))


def _ends(low: str, high: str) -> str:
    return low if low == high else f"{low}-{high}"


def _figures(value: float) -> str:
    """Two figures: an estimate has no third."""
    if not math.isfinite(value) or value <= 0:
        return "-" if value else "0"
    digits = 1 - math.floor(math.log10(float(f"{value:.1e}")))
    return f"{round(value, digits):.{max(0, digits)}f}"
