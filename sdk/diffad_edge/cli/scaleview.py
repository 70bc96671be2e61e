"""What was done on a Ray cluster or written for a Triton server, as a person reads it, and as JSON.

Knows their summaries. Does no work.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from diffad_edge.cli.output import facts, note, print_json, stdout

if TYPE_CHECKING:
    from diffad_calibration.triton import TritonRepository
    from diffad_runtime.scale import RaySummary


def finish_ray(summary: "RaySummary", *, json: bool) -> None:
    """Print it and leave with 1 where an image could not be judged, 130 after Ctrl-C.

    Raises:
        typer.Exit: as above.
    """
    for problem in summary.problems:
        note(f"unreadable: {problem}")
    if json:
        print_json({**asdict(summary), "results": str(summary.results)})
    else:
        rate = f"{summary.images_per_second:.1f} a second on {summary.workers} workers"
        rows = [
            ("images", f"{summary.images}, of which {summary.kept} were done before"),
            ("NG", str(summary.ng)),
            ("without judgement", str(summary.errors)),
            ("rate", f"{rate}, {summary.seconds:.1f} s"),
            ("engine", f"{summary.backend}, variant {summary.variant}"),
            ("results", str(summary.results)),
        ]
        if summary.retried:
            rows.append(("begun again", f"{summary.retried} batches, as a worker died"))
        stdout().print(facts(rows))
    if summary.interrupted:
        raise typer.Exit(130)
    if summary.errors:
        raise typer.Exit(1)


def show_triton(made: "TritonRepository", *, json: bool) -> None:
    """Where the repository is and how it is served."""
    if json:
        print_json({**asdict(made), "folder": str(made.folder), "files": list(made.files)})
        return
    rows = [
        ("repository", f"{made.folder}, {len(made.files)} files"),
        ("ensemble", f"{made.name}, version {made.version}, variant {made.variant}"),
        ("how to serve it", f"{made.folder}/README.md"),
    ]
    stdout().print(facts(rows))
