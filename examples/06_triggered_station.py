"""A station where parts are asked for: one verdict for every trigger, before its deadline, whatever the camera does.

    python examples/06_triggered_station.py [MODEL.diffad] [CAMERA]

A part is judged by the first picture that was taken after its trigger. Where none comes before the next trigger or the
deadline, or the judgement is late, the verdict is ERROR: nobody looked at that part, so it leaves the line. The same
from asyncio: `await station.trigger_async(part_id, deadline_ms)`.
"""

import sys
import time

from diffad_edge import Inspector, Station, Verdict, open_source

LINE = "synthetic://line?fps=20&defects=0.3"


def main(model: str = "demo-out/model.diffad", camera: str = LINE) -> None:
    with Inspector.open(model) as inspector, Station(inspector, open_source(camera)) as station:
        for number in range(12):
            result = station.trigger(f"part {number}", deadline_ms=400)
            why = result.error or f"score {result.score:.3f}, {len(result.defects)} defects"
            gate = "pass" if result.verdict is Verdict.OK else "reject"
            took = result.latency_ms["trigger"]
            print(f"{result.part_id:8s} {result.verdict.value:5s} -> {gate:6s} {took:6.1f} ms  {why}")
            time.sleep(0.1)  # the next part is on its way
        # A deadline that no camera of 20 pictures a second can keep:
        print("too soon:", station.trigger("part 12", deadline_ms=5).error)


if __name__ == "__main__":
    if len(sys.argv) > 3 or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    main(*sys.argv[1:])
