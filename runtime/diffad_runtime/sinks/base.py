"""What every sink promises.

Knows the three calls. Does not know threads: delivery.py calls each sink from one thread of its own, one frame after
the other, and other sinks at the same time.
"""

from abc import ABC, abstractmethod

from typing_extensions import Self

from diffad_runtime.result import Frame, Result


class Sink(ABC):
    """Takes results. What cannot be opened fails when the sink is made, not at the first frame.

    Attributes:
        name: for messages.
    """

    name: str

    @abstractmethod
    def write(self, frame: Frame, result: Result) -> None:
        """Take one result. The arrays are shared with other sinks: read, never write."""

    @abstractmethod
    def close(self) -> None:
        """Finish what is open; twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
