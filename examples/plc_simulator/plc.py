"""What a simulated PLC does, whatever it speaks: ask for a part's verdict, and hear verdicts.

Knows the calls. Does not know protocols, nor which faults are put in (campaign.py).
"""

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict as it was heard. `at` is on the monotonic clock; `job` is the name that the PLC gave the part."""

    job: str
    verdict: str
    code: int
    reject: bool
    at: float


@dataclass(slots=True)
class Heard:
    """All that was heard, by job. Any thread."""

    verdicts: dict[str, list[Told]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, told: Told) -> None:
        with self.changed:
            if told.job not in self.verdicts:
                self.order.append(told.job)
            self.verdicts.setdefault(told.job, []).append(told)
            self.changed.notify_all()

    def wait(self, job: str, seconds: float) -> bool:
        """Whether a verdict for the job came in time."""
        with self.changed:
            return self.changed.wait_for(lambda: job in self.verdicts, seconds)


class Plc(ABC):
    """One PLC on one protocol.

    Attributes:
        name: of the protocol.
        heard: verdicts.
        deadlines: whether a trigger can carry its own deadline.
        acknowledges: whether it acknowledges results, so that an acknowledgement can be lost.
    """

    name: str
    deadlines = True
    acknowledges = False

    def __init__(self) -> None:
        self.heard = Heard()
        self.forget_ack = False

    @abstractmethod
    def connect(self) -> None:
        """Connect, and wait until the station is ready."""

    @abstractmethod
    def ask(self, job: str, *, recipe: str | None = None, deadline_ms: float | None = None) -> float:
        """Trigger; the time just before it was sent, monotonic clock. `job` is the part's id as well."""

    @abstractmethod
    def drop(self) -> None:
        """Lose the connection without a word, and come back."""

    @abstractmethod
    def close(self) -> None:
        """Leave."""


def wait_until(what: str, ready, seconds: float = 15.0) -> None:  # type: ignore[no-untyped-def]
    """Wait for something that the other side does.

    Raises:
        TimeoutError: it did not.
    """
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)
