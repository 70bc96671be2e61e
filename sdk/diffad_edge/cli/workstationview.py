"""What train, export and demo did, in words. Knows their summaries' fields; does not import torch."""

from typing import Any

from diffad_edge.cli.benchview import show_timings
from diffad_edge.cli.evalview import show_figures
from diffad_edge.cli.output import facts, note, print_json, stdout, table
from diffad_edge.cli.searchview import show_search


def show_training(summary: Any, *, json: bool) -> None:
    """A TrainSummary."""
    if json:
        print_json(summary.to_json())
        return
    for line in summary.init_weights:
        note(line)
    rows = [
        ("run", str(summary.run)),
        (
            "trained",
            f"{summary.steps} steps in {summary.minutes:.1f} min, {summary.samples_per_second:.1f} images a second",
        ),
        ("network", f"{summary.parameters / 1e6:.1f} M parameters, {summary.gflops:.1f} GFLOPs an evaluation"),
        ("loss", f"{summary.losses[0]:.3f} at first, {summary.losses[1]:.3f} at last"),
        *((name, _category(summary, name)) for name in summary.good_images),
        ("next", f"diffad-edge eval {summary.run} --data DIR, or export {summary.run} --data DIR --out model.diffad"),
    ]
    stdout().print(facts(rows))


def _category(summary: Any, name: str) -> str:
    alpha, held = summary.alphas[name], summary.held_back[name]
    return f"{summary.good_images[name]} good images, {held} held back; {alpha:g} pixel KL + {1 - alpha:g} features"


def show_export(summary: Any, *, json: bool) -> None:
    """An ExportSummary."""
    for warning in summary.warnings:
        note(f"warning: {warning}")
    if json:
        print_json(summary.to_json())
        return
    console, parity = stdout(), summary.parity
    if summary.search:
        show_search(summary.search)
        console.print()
    rows = [
        [
            name,
            f"{summary.variants[name]:.1f}",
            f"{record['map_mean']:.2g}",
            f"{record['score_max']:.2g}",
            f"{record['flips']} of {len(record['frames'])}",
            f"{record['aupro_30']:.4f}",
        ]
        for name, record in parity["variants"].items()
    ]
    columns = ("variant", "MB", "map mean diff", "score max diff", "decision flips", "AUPRO@0.3")
    console.print(table("Differences from torch, in spreads of the map", columns, rows))
    console.print(f"torch itself: AUPRO@0.3 {parity['aupro_30']:.4f} on {parity['aupro_judged_on']}")
    console.print()
    limits = summary.thresholds
    console.print(
        facts(
            [
                ("bundle", f"{summary.bundle}, {summary.size_mb:.1f} MB, digest {summary.digest[:16]}"),
                ("fusion", f"{summary.alpha:g} pixel KL + {1 - summary.alpha:g} features"),
                ("image threshold", f"{limits.image:.3f}, set on {limits.good_images} good images"),
                ("next", f"diffad-edge run {summary.bundle} --camera 0 --masks masks"),
            ]
        )
    )


def show_demo(summary: Any, *, json: bool) -> None:
    """A DemoSummary."""
    for warning in summary.export.warnings:
        note(f"warning: {warning}")
    if json:
        print_json(summary.to_json())
        return
    show_figures(summary.evaluation)
    show_timings(summary.timing)
    stdout().print()
    stream = summary.stream
    stdout().print(
        facts(
            [
                ("streamed", f"{stream.frames} frames, {stream.ng} NG, {stream.frames_per_second:.1f} frames a second"),
                ("masks", str(summary.out / "masks")),
                ("overlays", str(summary.out / "overlay")),
                ("bundle", str(summary.bundle)),
                ("report", str(summary.report)),
                ("next", f"diffad-edge run {summary.bundle} --camera 'synthetic://line?fps=30&count=300'"),
            ]
        )
    )
