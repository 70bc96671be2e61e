"""What every kind of line signal promises, and what it may ask of the station.

Knows the calls between both sides. Does not know any protocol: each has a folder beside this file.

    PLC --> Adapter --trigger, prepare--> Desk --> station, judges
    PLC <-- Adapter <---show, state------ Desk <-- verdict
"""

from abc import ABC, abstractmethod
from typing import Protocol

from diffad_runtime.line.job import AdapterStatus, Job, LineState, Outcome, Request


class Desk(Protocol):
    """What an adapter asks the station for (desk.py). From any thread; no call blocks."""

    def trigger(self, request: Request) -> Job:
        """Take a job. It gets exactly one Outcome, shown to every adapter; also where it cannot be judged (ERROR).

        A request that repeats a job of the same channel gives that very job; its Outcome, where there is one already,
        is shown again to that channel only.

        Raises:
            InputError: job_id or part_id longer than 200 characters or with control characters, or a deadline that is
                no positive number: nothing was accepted, and whoever asked must be told.
        """

    def prepare(self, recipe: str | int) -> None:
        """From the next job on, this recipe.

        Raises:
            InputError: there is no such recipe; the one in force stays.
        """

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        """(name, index) of every recipe; () where the whole frame is looked at."""

    def state(self) -> LineState:
        """The station now."""

    def signalled(self, outcome: Outcome, channel: str) -> None:
        """An adapter has put an outcome on its wire (socket written, register set, output driven): call it right then,
        it measures the time from trigger to signal."""


class Adapter(ABC):
    """One kind of signal. Made from its settings, which must not touch the world; `start` does.

    What goes wrong with the world later (broker gone, client gone, cable out) is never raised: it is counted, told in
    `status()`, logged once per change with health.logs.event, and tried again with backoff.
    """

    name: str

    @abstractmethod
    def start(self, desk: Desk) -> None:
        """Begin to listen, on threads of its own. Returns within a few seconds, also where a broker is not there yet.

        Raises:
            InputError: what was asked for cannot work here: a port that is taken, a certificate that is none.
            MissingExtraError: the `[line]` extra is not installed.
        """

    @abstractmethod
    def show(self, outcome: Outcome) -> None:
        """Tell a verdict. Called on the thread that reached it, once for each job (again after a repeated request, see
        `Desk.trigger`): quick, never blocks, never raises for what the world does."""

    @abstractmethod
    def state(self, state: LineState) -> None:
        """The station's state: at every change, and at every beat. Quick as `show`; another thread than `show`'s."""

    @abstractmethod
    def status(self) -> AdapterStatus:
        """How it is doing."""

    @abstractmethod
    def close(self) -> None:
        """Say goodbye and end all threads, within 2 s. Legal in every state, from any thread, and twice."""
