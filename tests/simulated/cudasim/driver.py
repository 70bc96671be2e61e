"""The rules of CUDA, whichever library is asked: contexts by thread, streams, events, captures, frees.

Knows what is alive, what is current on which thread, and what is enqueued. Does not know pycuda's or cuda-bindings'
names, nor TensorRT.

A context is one object of pycuda's; whoever retained it made it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from cudasim.memory import Allocation, Kind, Memory
from cudasim.streams import Capture, Event, Graph, Stream, Thing, Work

if TYPE_CHECKING:
    from cudasim.machine import Machine

T = TypeVar("T", bound=Thing)


@dataclass(eq=False)
class Thread:
    """One thread of the program.

    Attributes:
        stack: contexts pushed, the current one last.
    """

    name: str
    stack: list["Context"] = field(default_factory=list)


@dataclass(eq=False)
class Context(Thing):
    """The primary context, as one call retained it."""

    thread: Thread | None = None


class OutOfMemory(Exception):  # noqa: N818  becomes pycuda's MemoryError
    """The allocation does not fit."""


class Driver:
    """One process's view of the GPU."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._local = threading.local()
        self._numbers = count(1)
        self.lock = threading.RLock()
        self.memory = Memory()
        self.threads: list[Thread] = []
        self.things: list[Thing] = []
        self.initialised = False
        self.lost = ""  # what the device died of
        self.ending = False  # the test puts away what the program keeps for its whole life

    # Threads and contexts.

    def thread(self) -> Thread:
        """The one that calls."""
        if not hasattr(self._local, "thread"):
            self._local.thread = Thread(threading.current_thread().name)
            self.threads.append(self._local.thread)
        return self._local.thread

    def current(self, call: str) -> Context:
        """The context that is current on this thread; a misuse where none is."""
        self.need_init(call)
        stack = self.thread().stack
        if not stack:
            raise self._machine.misuse(f"{call}: no context is current on thread {self.thread().name!r}")
        return stack[-1]

    def need_init(self, call: str) -> None:
        if not self.initialised:
            raise self._machine.misuse(f"{call} before cuda.init()")

    def may_free(self, thing: str, owner: object) -> str:
        """Why this thread must not free what belongs to a context, "" where it may.

        pycuda frees where the context is current, and on the thread that made the context it makes it current for that
        long. Elsewhere it prints a warning and frees nothing.
        """
        thread = self.thread()
        assert isinstance(owner, Context)
        if (thread.stack and thread.stack[-1] is owner) or (owner.thread is thread and owner.alive):
            return ""
        return f"{thing} is freed on thread {thread.name!r}, where its context is not current: it leaks"

    def retain(self) -> Context:
        self.need_init("Device.retain_primary_context")
        return self.add(Context(f"primary context {next(self._numbers)}", thread=self.thread()))

    def push(self, context: Context) -> None:
        if not context.alive:
            raise self._machine.misuse(f"Context.push: {context.what} was given back")
        self.thread().stack.append(context)

    def pop(self) -> None:
        if not self.thread().stack:
            raise self._machine.misuse(f"Context.pop: nothing is pushed on thread {self.thread().name!r}")
        self.thread().stack.pop()

    def detach(self, context: Context) -> None:
        if not context.alive:
            raise self._machine.misuse(f"Context.detach: {context.what} was given back before")
        if not self.ending:
            if any(context in thread.stack for thread in self.threads):
                raise self._machine.misuse(f"Context.detach: {context.what} is pushed, a stale entry would be left")
            if context.thread is not self.thread():
                raise self._machine.misuse(
                    f"Context.detach: {context.what} was retained on another thread, pycuda gives nothing back here"
                )
            if left := self.left_in(context):
                raise self._machine.misuse(f"Context.detach: {context.what} still has {', '.join(left)}")
        context.alive = False

    def left_in(self, context: Context | None = None) -> list[str]:
        """What is alive: of one context, or at all."""
        found = [str(one) for one in self.memory.live if context in (None, one.owner)]
        found += [
            one.what
            for one in self.things
            if one.alive and not isinstance(one, Context) and context in (None, one.owner)
        ]
        return found

    # Things.

    def add(self, thing: T) -> T:
        self.things.append(thing)
        return thing

    def named(self, kind: str) -> str:
        """A name that nothing else has, as in "stream 7"."""
        return f"{kind} {next(self._numbers)}"

    def handle(self) -> int:
        return 0x1000 + 16 * next(self._numbers)

    def destroy(self, call: str, thing: Thing) -> None:
        """A misuse where it is gone, or work that needs it is enqueued."""
        if not thing.alive:
            raise self._machine.misuse(f"{call}: {thing.what} was destroyed before")
        thing.alive = False
        self.check_idle(call, thing)

    def check_idle(self, call: str, thing: Thing | Allocation) -> None:
        """A misuse where work that needs it is enqueued."""
        for stream in self.streams():
            if thing is stream and stream.queue:
                raise self._machine.misuse(f"{call}: {stream.what} has work enqueued: {stream.queue[0].what}")
            for work in stream.queue:
                if thing in work.memory or thing in work.things:
                    name = thing.what if isinstance(thing, Thing) else str(thing)
                    raise self._machine.misuse(f"{call}: {name} is used by work that is enqueued: {work.what}")

    def streams(self) -> list[Stream]:
        return [one for one in self.things if isinstance(one, Stream)]

    def stream(self, call: str, handle: int) -> Stream:
        """The live stream of a handle; a misuse for the null stream."""
        if not handle:
            raise self._machine.misuse(f"{call} on the null stream: it waits for all others, and cannot be captured")
        for stream in self.streams():
            if stream.handle == handle:
                if not stream.alive:
                    raise self._machine.misuse(f"{call}: {stream.what} was destroyed")
                return stream
        raise self._machine.misuse(f"{call}: no stream has the handle {handle:#x}")

    # Memory.

    def allocate(self, call: str, kind: Kind, nbytes: int) -> Allocation:
        context = self.current(call)
        self.unsafe(call)
        if nbytes < 1:
            raise self._machine.misuse(f"{call}: {nbytes} bytes")
        if kind == "mapped" and not self._machine.maps_host_memory:
            raise self._machine.misuse(f"{call}: this GPU cannot map memory of the host")
        if (kind == "device" or self._machine.integrated) and nbytes > self.free_bytes():
            raise OutOfMemory
        return self.memory.allocate(kind, nbytes, context)

    def free_bytes(self) -> int:
        taken = [one.nbytes for one in self.memory.live if one.kind == "device" or self._machine.integrated]
        return max(0, self._machine.free_memory - sum(taken))

    def free(self, call: str, allocation: Allocation) -> None:
        if not allocation.alive:
            raise self._machine.misuse(f"{call}: {allocation} was freed before")
        if not self.lost:
            self.unsafe(call)
            if why := self.may_free(str(allocation), allocation.owner):
                raise self._machine.misuse(why)
        self.memory.free(allocation)
        self.check_idle(call, allocation)

    def bytes_at(self, call: str, address: int, nbytes: int) -> tuple[Allocation, int]:
        """The live allocation that so many bytes at an address of the GPU lie in, and the offset."""
        found = self.memory.at(address)
        if found is None:
            on_host = self.memory.on_host(address)
            if on_host is not None:
                hint = "mapped: ask for get_device_pointer()" if on_host.kind == "mapped" else "not mapped"
                raise self._machine.misuse(f"{call}: {address:#x} is memory of the host, {hint}")
            raise self._machine.misuse(f"{call}: {address:#x} is no memory of the GPU")
        allocation, offset = found
        if not allocation.alive:
            raise self._machine.misuse(f"{call}: {allocation} was freed")
        if offset + nbytes > allocation.nbytes:
            raise self._machine.misuse(f"{call}: {nbytes} bytes at byte {offset} of {allocation}")
        return allocation, offset

    # Work.

    def submit(self, stream: Stream, work: Work) -> None:
        """Enqueue it, or capture it."""
        if gone := work.dead():
            raise self._machine.misuse(f"{work.what}: {gone} is gone")
        if stream.capture is not None:
            stream.capture.nodes.append(work)
        elif not self.lost:
            stream.queue.append(work)

    def finish(self, call: str, stream: Stream, until: Work | None = None) -> None:
        """Wait for a stream, or for one piece of its work."""
        if stream.capture is not None:
            raise self._machine.misuse(f"{call}: {stream.what} is being captured")
        self.unsafe(call)
        with self.lock:
            if until is not None and until not in stream.queue:
                return
            while stream.queue:
                work = stream.queue[0]
                if gone := work.dead():
                    stream.queue.clear()
                    raise self._machine.misuse(f"{work.what}: {gone} is gone when it runs")
                work.run()
                stream.queue.popleft()
                if work is until:
                    return

    def finish_all(self, call: str) -> None:
        for stream in self.streams():
            if stream.alive:
                self.finish(call, stream)

    def lose(self, why: str) -> None:
        """The device is dead for this process; what was enqueued is gone."""
        self.lost = why
        self.drop_work()

    def drop_work(self) -> None:
        for stream in self.streams():
            stream.queue.clear()

    # Events.

    def record(self, event: Event, stream: Stream) -> None:
        event.happened, event.stream, event.captured = None, stream, stream.capture is not None

        def happen() -> None:
            if event.mark is mark:
                event.happened = time.perf_counter()

        mark = Work(f"record of {event.what}", happen, things=(event,))
        event.mark = None if event.captured else mark
        self.submit(stream, mark)

    def wait_for(self, stream: Stream, event: Event) -> None:
        mark, other = event.mark, event.stream

        def wait() -> None:
            if mark is not None and other is not None and other is not stream:
                self.finish(f"wait for {event.what}", other, mark)

        self.submit(stream, Work(f"wait for {event.what}", wait, things=(event,)))

    # Captures.

    def captures(self) -> list[Capture]:
        return [stream.capture for stream in self.streams() if stream.capture is not None]

    def unsafe(self, call: str) -> None:
        """A call that CUDA prohibits while a capture goes on: it would be waited for, or invalidates the capture."""
        for capture in self.captures():
            if capture.mode == "GLOBAL" or (capture.mode == "THREAD_LOCAL" and capture.thread is self.thread()):
                raise self._machine.misuse(f"{call} while a stream is captured")

    def launch(self, call: str, graph: Graph, stream: Stream) -> None:
        """All of a graph, with the addresses that were captured."""
        if not graph.alive:
            raise self._machine.misuse(f"{call}: {graph.what} was destroyed")
        if stream.capture is not None:
            raise self._machine.misuse(f"{call}: {stream.what} is being captured")
        nodes = graph.nodes

        def run() -> None:
            for node in nodes:
                node.run()

        memory = tuple(one for node in nodes for one in node.memory)
        things = (graph, *(one for node in nodes for one in node.things))
        self.submit(stream, Work(f"launch of {graph.what}", run, memory, things))

    @contextmanager
    def put_away(self) -> Iterator[None]:
        """The test ends what a program keeps for its whole life."""
        self.ending = True
        try:
            yield
        finally:
            self.ending = False


Runner = Callable[[], None]
