"""What is enqueued on streams, recorded in events and captured in graphs.

Knows the order of work. Does not know which calls are allowed when (driver.py), nor what the work does.

Work is lazy: it happens when somebody waits for it, and not before. Real GPUs may take as long as they like, so a
program that does not wait must not see results.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from cudasim.memory import Allocation


@dataclass(eq=False)
class Thing:
    """Whatever is made and destroyed: a stream, an event, a graph, an engine.

    Attributes:
        what: for messages, as in "stream 3".
        owner: the context it belongs to, where it belongs to one.
    """

    what: str
    owner: object = None
    alive: bool = True


@dataclass(eq=False)
class Work:
    """One piece of work on a stream.

    Attributes:
        what: for messages.
        run: does it.
        memory: that it reads or writes.
        things: that it needs alive.
    """

    what: str
    run: Callable[[], None]
    memory: tuple[Allocation, ...] = ()
    things: tuple[Thing, ...] = ()

    def dead(self) -> str:
        """What it needs and is gone, "" where all is there."""
        gone = [str(one) for one in self.memory if not one.alive]
        gone += [one.what for one in self.things if not one.alive]
        return gone[0] if gone else ""


@dataclass(eq=False)
class Capture:
    """Work that a stream collects in place of doing it."""

    thread: object
    mode: str
    nodes: list[Work] = field(default_factory=list)


@dataclass(eq=False)
class Stream(Thing):
    """Work in order."""

    handle: int = 0
    queue: deque[Work] = field(default_factory=deque)
    capture: Capture | None = None


@dataclass(eq=False)
class Event(Thing):
    """A mark in a stream.

    Attributes:
        mark: the work that it was last recorded as; None before that.
        stream: that it was last recorded on.
        happened: seconds on the GPU's clock; None before it did.
        captured: recorded in a capture, so it has no time.
    """

    mark: Work | None = None
    stream: Stream | None = None
    happened: float | None = None
    captured: bool = False


@dataclass(eq=False)
class Graph(Thing):
    """What a capture gave, or what was instantiated of it: addresses are those of then."""

    handle: int = 0
    nodes: tuple[Work, ...] = ()
    device: object = None
