"""How soon a camera's stream resumes after its return, and what is left over: an RTSP server killed again and again.

    python docs/rtsp_restarts.py [--kills 10] [--json]

The server is a real one (Debian's GStreamer, tests/simulated/rtspsim), on loopback, killed without a word and started
again after a pause of 0 to 5 seconds. `open_source` with its default limits reads it, as `run` does. Resumed is counted
from the moment at which the server listens again to the first frame that is handed out and was captured after it.
The last line is one JSON object; exit code 1 where a resume took more than 3 s, or threads or files grew.
"""

import argparse
import gc
import json
import os
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "simulated"))

from rtspsim import RtspServer, why_missing  # noqa: E402

from diffad_runtime.result import Frame, SourceState  # noqa: E402
from diffad_runtime.sources import SupervisedSource, open_source  # noqa: E402

LIMIT_S = 3.0


class Consumer(threading.Thread):
    """Takes every frame as a run does, and keeps the newest."""

    def __init__(self, source: SupervisedSource) -> None:
        super().__init__(name="consumer", daemon=True)
        self.source = source
        self.newest: Frame | None = None

    def run(self) -> None:
        for frame in self.source:
            self.newest = frame

    def wait_for_newer(self, than: float, limit_s: float) -> float:
        """Monotonic seconds when a frame captured after `than` is here, inf where none comes in time."""
        while time.monotonic() < than + limit_s:
            if self.newest is not None and self.newest.t_monotonic > than:
                return time.monotonic()
            time.sleep(0.005)
        return float("inf")


def held() -> tuple[int, int]:
    """Threads and open files of this process, once readers that were dropped had their time to end."""
    time.sleep(1.0)
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="the last line only")
    arguments = parser.parse_args()
    if why := why_missing():
        print(json.dumps({"skipped": why}))
        return 0
    rows = []
    with RtspServer() as server:
        source = open_source(server.uri)
        assert isinstance(source, SupervisedSource)
        consumer = Consumer(source)
        consumer.start()
        consumer.wait_for_newer(0.0, 10)
        before = held()
        for turn in range(arguments.kills):
            killed = time.monotonic()
            server.kill()
            while source.status().state is SourceState.STREAMING and time.monotonic() < killed + 10:
                time.sleep(0.005)
            noticed = time.monotonic() - killed
            time.sleep(5.0 * turn / max(1, arguments.kills - 1))
            back = server.start()
            resumed = consumer.wait_for_newer(back, 30) - back
            threads, files = held()
            rows.append(
                {"away_s": back - killed, "noticed_s": noticed, "resumed_s": resumed}
                | {"threads": threads, "files": files}
            )
        status = source.status()
        start = time.monotonic()
        source.close()
        closed = time.monotonic() - start
    if not arguments.json:
        print("kill  away s  noticed s  resumed s  threads  files")
        for number, row in enumerate(rows, 1):
            print(
                f"{number:4d}  {row['away_s']:6.2f}  {row['noticed_s']:9.2f}  {row['resumed_s']:9.2f}"
                f"  {row['threads']:7d}  {row['files']:5d}"
            )
        print(
            f"before: {before[0]} threads, {before[1]} files; {status.reconnects} reconnects; closed in {closed:.2f} s"
        )
    worst = max(row["resumed_s"] for row in rows)
    flat = all((row["threads"], row["files"]) <= before for row in rows)
    print(
        json.dumps(
            {
                "kills": len(rows),
                "resumed_s_max": round(worst, 2),
                "noticed_s_max": round(max(row["noticed_s"] for row in rows), 2),
                "reconnects": status.reconnects,
                "threads": [before[0], rows[-1]["threads"]],
                "files": [before[1], rows[-1]["files"]],
                "closed_s": round(closed, 2),
            }
        )
    )
    return 0 if worst <= LIMIT_S and flat and status.reconnects == len(rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
