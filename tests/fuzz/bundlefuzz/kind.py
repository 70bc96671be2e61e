"""What a kind of input is."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from bundlefuzz.targets import Targets
from bundlefuzz.zips import Parts

Work = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of input.

    Attributes:
        name: for the table.
        share: how often, against the others.
        make: (random numbers, base, targets) -> (what to do, bytes that were made).
        bundle: whether it is a bundle or its manifest.
    """

    name: str
    share: int
    make: Callable[[random.Random, Parts, Targets], tuple[Work, int]]
    bundle: bool = True
