"""Many inputs from one seed: made, run under watch, counted by kind and by the layer that refused them.

Knows what must hold for every input. Does not know how any is made (kinds.py) or read (targets.py).
"""

import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundlefuzz import bases
from bundlefuzz.kinds import KINDS, Kind
from bundlefuzz.targets import Targets
from bundlefuzz.watch import Seen, Watch
from bundlefuzz.zips import Parts

BOUND_TIMES, BOUND_MB = 64.0, 320.0
"""Memory that an input may cost: so many times its size, and so much besides."""
BOUND_S, BOUND_S_PER_MB = 5.0, 10.0
"""Seconds of one core that it may take, and for each megabyte of it."""
_TWICE_EVERY = 20
_TRACED_EVERY = 50
_REAL_EVERY = 200
_MOST_FAULTS = 200

LAYERS = (
    ("file", ("reader._read_once",)),
    ("zip records", ("container.",)),
    ("manifest: JSON", ("manifest.json ",)),
    ("manifest: fields", ("reader._manifest",)),
    ("names, sizes, hashes", ("reader._check_members",)),
    ("graphs: format, outside data", ("onnxscan.", "protobuf.")),
    ("graphs: limits", ("onnxgraph.", "onnxlimits.", "onnxshapes.")),
    ("parity, golden records", ("strictjson.",)),
    ("golden pictures, maps", ("golden.", "imagefile.")),
    ("golden answers", ("selfcheck.",)),
    ("accepted", ("accepted",)),
)
"""Layers of a bundle in the order in which they are passed, and where refusals of each arise."""


@dataclass(slots=True)
class Tally:
    """What came of a run.

    Attributes:
        layers: kind -> layer -> how many.
        faults: whatever must not be, with the number that makes it again.
        peak_mb, slowest_s: the worst, and the number that gave it.
        accepted: numbers of bundles that were taken, for an engine to try.
    """

    rounds: int = 0
    bundles: int = 0
    seconds: float = 0.0
    layers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)
    fault_count: Counter[str] = field(default_factory=Counter)
    peak_mb: tuple[float, int] = (0.0, -1)
    python_mb: tuple[float, int] = (0.0, -1)
    slowest_s: tuple[float, int] = (0.0, -1)
    repeated: int = 0
    accepted: list[int] = field(default_factory=list)


class Campaign:
    """Inputs by number: the same seed and number always make the same.

    Args:
        seed: any.
        real: a bundle as exports make them, for every 200th input; None: none.
        kinds: what is made.
        folder: empty, for the inputs.
    """

    def __init__(self, seed: int, folder: Path, real: Path | None = None, kinds: Sequence[Kind] = KINDS) -> None:
        self.seed = seed
        self._kinds = kinds
        self._base = bases.tiny()
        self._real = None if real is None else bases.of_file(real)
        self._targets = Targets(folder)
        self._watch = Watch(folder)
        self._warm()

    def run(
        self,
        rounds: int,
        *,
        until: float = float("inf"),
        first: int = 0,
        on_round: Callable[[Tally], None] = lambda _: None,
    ) -> Tally:
        """Run inputs `first` to `first + rounds`, or as many as there are until a time (monotonic), or until Ctrl-C."""
        tally = Tally()
        start = time.monotonic()
        try:
            for number in range(first, first + rounds):
                if time.monotonic() > until:
                    break
                self._one(number, tally)
                tally.seconds = time.monotonic() - start
                on_round(tally)
        except KeyboardInterrupt:
            pass
        return tally

    def data(self, number: int) -> tuple[Kind, bytes]:
        """A bundle by number; b"" where that number is none."""
        kind, base, rng = self._chosen(number)
        if not kind.bundle:
            return kind, b""
        kind.make(rng, base, self._targets)
        return kind, self._targets.bundle_path.read_bytes()

    def good(self) -> bytes:
        """The small base as it is."""
        return self._base.sealed()

    def look(self, number: int, *, python_memory: bool = False) -> tuple[Kind, int, Seen]:
        """Make one input and run it: (its kind, its size in bytes, what came of it)."""
        kind, base, rng = self._chosen(number)
        work, size = kind.make(rng, base, self._targets)
        return kind, size, self._watch.run(work, python_memory=python_memory)

    def _chosen(self, number: int) -> tuple[Kind, Parts, random.Random]:
        rng = random.Random(f"{self.seed}:{number}")
        (kind,) = rng.choices(self._kinds, [kind.share for kind in self._kinds])
        real = self._real is not None and number % _REAL_EVERY == 0
        return kind, self._real if real and self._real is not None else self._base, rng

    def _one(self, number: int, tally: Tally) -> None:
        traced = number % _TRACED_EVERY == 0
        kind, size, seen = self.look(number, python_memory=traced)
        layer = layer_name(seen)
        tally.rounds += 1
        tally.bundles += kind.bundle
        tally.layers[kind.name][layer] += 1
        tally.peak_mb = max(tally.peak_mb, (seen.peak_mb, number))
        tally.slowest_s = max(tally.slowest_s, (seen.cpu_s, number))
        faults = [*seen.faults, *beyond(size, seen, traced=traced)]
        if traced:
            tally.python_mb = max(tally.python_mb, (seen.python_mb, number))
        if number % _TWICE_EVERY == 0:
            tally.repeated += 1
            _, _, again = self.look(number)
            if (again.layer, again.message) != (seen.layer, seen.message):
                faults.append(f"answered {seen.layer} {seen.message!r:.150}, then {again.layer} {again.message!r:.150}")
        if kind.bundle and layer == "accepted":
            tally.accepted.append(number)
        for fault in faults:
            before, at, place = fault.rpartition(" at ")
            tally.fault_count[place[:60] if at and before else " ".join(fault.split()[:2])[:60]] += 1
            if len(tally.faults) < _MOST_FAULTS:
                tally.faults.append(f"{kind.name} {number}: {fault}")

    def _warm(self) -> None:
        """Everything imported and every cache filled, so that what is measured is the input's."""
        self._targets.bundle(self._base.sealed())()
        for number in range(60):
            self.look(-1 - number)
        self._watch.settle()


def beyond(size: int, seen: Seen, *, traced: bool = False) -> list[str]:
    """What of memory and time is out of bounds for an input of `size` bytes."""
    found = []
    mb = size / (1 << 20)
    limit = BOUND_TIMES * mb + BOUND_MB
    if seen.peak_mb > limit:
        found.append(f"{seen.peak_mb:.0f} MB for {size} bytes, at most {limit:.0f} expected at memory")
    if traced and seen.python_mb > limit:
        found.append(
            f"{seen.python_mb:.0f} MB asked for by Python for {size} bytes, at most {limit:.0f} expected at memory"
        )
    if not traced and seen.cpu_s > BOUND_S + BOUND_S_PER_MB * mb:
        found.append(f"{seen.cpu_s:.1f} s for {size} bytes at time")
    return found


def layer_name(seen: Seen) -> str:
    """For the table."""
    if seen.layer.startswith("strictjson.") and "manifest.json" in seen.message:
        return "manifest: JSON"
    return next((name for name, starts in LAYERS if seen.layer.startswith(starts)), seen.layer)


def in_own_folder(seed: int, rounds: int, **options: Any) -> Tally:
    """A campaign in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        return Campaign(seed, Path(folder), **options).run(rounds)
