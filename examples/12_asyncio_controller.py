"""Inside a controller that is written with asyncio: two things go on at once, and no part waits for either.

    python examples/12_asyncio_controller.py [MODEL.diffad] [CAMERA]

Inspection runs on threads of its own. `await station.trigger_async(...)` gives the loop back until the verdict is
there, and a task that is cancelled meanwhile loses no part: it has its verdict all the same.
"""

import asyncio
import sys

from diffad_edge import Inspector, Result, Station, Verdict, open_source

LINE = "synthetic://line?fps=30&defects=0.3"


async def conveyor(station: Station, parts: int) -> list[Result]:
    """Parts come every 100 ms, whether the last one is judged or not."""
    judging = []
    for number in range(parts):
        judging.append(asyncio.create_task(station.trigger_async(f"part {number}", deadline_ms=500)))
        await asyncio.sleep(0.1)
    return await asyncio.gather(*judging)


async def lamp(stop: asyncio.Event) -> int:
    """Whatever else the controller does meanwhile; the count shows that it was never held up."""
    beats = 0
    while not stop.is_set():
        beats += 1
        await asyncio.sleep(0.05)
    return beats


async def control(model: str = "demo-out/model.diffad", camera: str = LINE) -> None:
    with Inspector.open(model) as inspector, Station(inspector, open_source(camera)) as station:
        stop = asyncio.Event()
        blinking = asyncio.create_task(lamp(stop))
        results = await conveyor(station, parts=15)
        stop.set()
        for result in results:
            gate = "pass" if result.verdict is Verdict.OK else "reject"
            print(f"{result.part_id:8s} {result.verdict.value:5s} -> {gate:6s} {result.latency_ms['trigger']:6.1f} ms")
        print(f"{len(results)} parts, {await blinking} beats of the lamp")


if __name__ == "__main__":
    if len(sys.argv) > 3 or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    asyncio.run(control(*sys.argv[1:]))
