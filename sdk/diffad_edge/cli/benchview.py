"""A bench report as tables.

Knows timings and ratios. Does not time anything.
"""

from diffad_edge.cli.output import facts, milliseconds, stdout, table
from diffad_runtime.bench import BenchReport, Timing


def show_timings(report: BenchReport) -> None:
    """Print latency, rate and ratio of each contestant, then where the time goes."""
    console = stdout()
    columns = ("variant", "engine", "p50 ms", "p95 ms", "p99 ms", "frames/s", f"p50 against {report.default}")
    rows = [
        [
            name,
            timing.backend,
            *(milliseconds(timing.stages["total"][key]) for key in ("p50", "p95", "p99")),
            f"{timing.frames_per_second:.1f}",
            ratio(timing, report.timings[report.default]),
        ]
        for name, timing in report.timings.items()
    ]
    console.print(table("Frame in to mask out", columns, rows, left=2))
    console.print()
    stages = list(dict.fromkeys(stage for timing in report.timings.values() for stage in timing.stages))
    stages.remove("total")
    rows = [
        [name, *(milliseconds(timing.stages[stage]["p50"]) if stage in timing.stages else "-" for stage in stages)]
        for name, timing in report.timings.items()
    ]
    console.print(table("Where the time goes, p50 ms", ("variant", *stages), rows))
    console.print()
    height, width = report.frame_size
    console.print(
        facts(
            [
                ("frames", f"{report.rounds} of {width} x {height} for each variant, interleaved, after a warm-up"),
                ("threads", str(report.threads or "all this process may use")),
                ("peak memory", f"{report.peak_rss_mb:.0f} MiB, all variants together"),
                ("machine", report.machine),
            ]
        )
    )


def ratio(timing: Timing, reference: Timing) -> str:
    """As in "2.31x slower", by medians; "1x" for the reference itself."""
    if timing is reference:
        return "1x"
    mine, theirs = timing.stages["total"]["p50"], reference.stages["total"]["p50"]
    return f"{mine / theirs:.2f}x slower" if mine >= theirs else f"{theirs / mine:.2f}x faster"
