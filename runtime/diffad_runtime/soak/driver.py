"""A line: asks for parts at its pace and counts what comes back.

Knows triggers, deadlines and futures. Does not know cameras.
"""

import random
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

from diffad_runtime.latency import LatencyRecorder
from diffad_runtime.result import Result, Verdict
from diffad_runtime.soak.detection import Times
from diffad_runtime.station import Station


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back so far.

    Attributes:
        asked: triggers.
        answered: of these, with a Result.
        twice: parts with more than one.
        verdicts: {"OK": n, ...}.
        overdue: answers after the deadline.
        worst_overdue_ms: the latest of these, 0.0 where there is none.
        p50_ms, p99_ms: trigger to verdict, of OK and NG.
        errors: {reason: how often}, reasons without their figures, the commonest 20.
    """

    asked: int
    answered: int
    twice: int
    verdicts: dict[str, int]
    overdue: int
    worst_overdue_ms: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]


class Driver:
    """Triggers with exponential gaps around a mean, from a thread of its own.

    Args:
        station: asked.
        per_second: parts, on average.
        deadline_ms: of each.
        seed: of the gaps.
    """

    def __init__(self, station: Station, *, per_second: float, deadline_ms: float, seed: int) -> None:
        self._station, self._per_second, self._deadline_ms = station, per_second, deadline_ms
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._asked = self._answered = self._twice = self._overdue = 0
        self._worst = 0.0
        self._open: set[str] = set()
        self._verdicts = {verdict.value: 0 for verdict in Verdict}
        self._took = LatencyRecorder()
        self._errors: dict[str, int] = {}
        self._good = Times()
        self._thread = threading.Thread(target=self._ask, name="soak driver", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self._thread.join()

    def judged_at(self) -> list[float]:
        """When parts were judged OK or NG, in the last two minutes."""
        with self._lock:
            return list(self._good)

    def report(self) -> Answered:
        """Counts so far."""
        with self._lock:
            commonest = sorted(self._errors.items(), key=lambda item: -item[1])[:20]
            return Answered(
                self._asked,
                self._answered,
                self._twice,
                dict(self._verdicts),
                self._overdue,
                self._worst,
                self._took.quantile(0.5),
                self._took.quantile(0.99),
                dict(commonest),
            )

    def _ask(self) -> None:
        while not self._stop.wait(self._rng.expovariate(self._per_second)):
            with self._lock:
                part = f"part {self._asked}"
                self._asked += 1
                self._open.add(part)
            asked = time.monotonic()
            future = self._station.submit(part, self._deadline_ms)
            future.add_done_callback(lambda done, asked=asked: self._answer(done, asked))  # type: ignore[misc]

    def _answer(self, done: "Future[Result]", asked: float) -> None:
        now, result = time.monotonic(), done.result()
        over_ms = 1e3 * (now - asked) - self._deadline_ms
        with self._lock:
            self._answered += 1
            self._twice += result.part_id not in self._open
            self._open.discard(result.part_id)
            self._verdicts[result.verdict.value] += 1
            if over_ms > 0:
                self._overdue += 1
                self._worst = max(self._worst, over_ms)
            if result.verdict is Verdict.ERROR:
                words = " ".join(word for word in result.error.split() if not any(mark.isdigit() for mark in word))
                if words in self._errors or len(self._errors) < 200:
                    self._errors[words] = self._errors.get(words, 0) + 1
            else:
                self._good.note(now)
                self._took.add(1e3 * (now - asked))
