"""A camera, a verdict for every part, and a reject gate that fails safe.

    python examples/02_stream.py [MODEL.diffad] [CAMERA]

CAMERA is an index or a URI: 0, rtsp://..., dir://folder; without one, the built-in synthetic line. A frame that cannot
be judged has the verdict ERROR. It is rejected too: nobody looked at that part.
"""

import sys

from diffad_edge import Inspector, Result, Verdict

LINE = "synthetic://line?fps=10&defects=0.3&count=30"


def must_reject(result: Result) -> bool:
    """Everything but a clear OK leaves the line."""
    return result.verdict is not Verdict.OK


def drive_gate(*, reject: bool) -> None:
    """Stands for the digital output that moves the gate."""
    print("  -> reject" if reject else "  -> pass")


def main(model: str = "demo-out/model.diffad", camera: str = LINE) -> None:
    counts = dict.fromkeys(Verdict, 0)
    with Inspector.open(model) as inspector:
        for result in inspector.stream(camera):
            why = result.error or f"score {result.score:.3f}"
            print(f"part {result.frame_id:4d}  {result.verdict.value:5s}  {why}  {result.latency_ms['total']:.1f} ms")
            drive_gate(reject=must_reject(result))
            counts[result.verdict] += 1
    print(", ".join(f"{verdict.value}: {count}" for verdict, count in counts.items()))


if __name__ == "__main__":
    if len(sys.argv) > 3 or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    main(*sys.argv[1:])
