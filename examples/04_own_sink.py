"""A sink of your own: here one that keeps the picture of every rejected part, named by its score.

    python examples/04_own_sink.py [MODEL.diffad] [CAMERA] [FOLDER]

`run_stream` captures on one thread, judges on this one, and calls the sinks on a third: a slow disk does not hold up
the next part until the queue is full. A sink that raises is counted and reported, and the run goes on.
"""

import sys
from pathlib import Path

from diffad_edge import Frame, Inspector, Result, Verdict, open_source
from diffad_runtime.imagefile import write_png
from diffad_runtime.pipeline import run_stream
from diffad_runtime.sinks import Sink

LINE = "synthetic://line?fps=0&defects=0.3&count=30"


class RejectArchive(Sink):
    """Pictures of rejected parts. The arrays are shared with other sinks: read them, never write to them."""

    def __init__(self, folder: Path) -> None:
        self.name = f"rejects in {folder}"
        self.folder, self.kept = folder, 0
        folder.mkdir(parents=True, exist_ok=True)  # what cannot be opened fails here, not at the first part

    def write(self, frame: Frame, result: Result) -> None:
        if result.verdict is not Verdict.OK:
            write_png(self.folder / f"{result.frame_id:06d}_{result.score:.2f}.png", frame.image)
            self.kept += 1

    def close(self) -> None:
        pass


def main(model: str = "demo-out/model.diffad", camera: str = LINE, folder: str = "rejects") -> None:
    archive = RejectArchive(Path(folder))
    with Inspector.open(model) as inspector:
        summary = run_stream(inspector, open_source(camera), [archive])
    print(
        f"{summary.frames} parts, {archive.kept} pictures in {folder}, {summary.frames_per_second:.1f} parts a second"
    )
    for fault in summary.sink_faults:
        sys.exit(f"{fault.sink} failed {fault.count} times: {fault.first_error}")


if __name__ == "__main__":
    if len(sys.argv) > 4 or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    main(*sys.argv[1:])
