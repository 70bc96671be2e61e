"""The faults that the chaos camera knows: what each does to the stream, and how it should show at the other end.

A table, nothing else. Does not know when a fault comes (timetable.py) nor how it is done (damage.py, camera.py).
"""

from dataclasses import dataclass
from enum import Enum

from diffad_runtime.errors import SourceError


class FaultKind(str, Enum):
    """What can go wrong with a camera; the value is its name in a URI and in a script."""

    FREEZE = "freeze"
    DROP = "drop"
    SILENCE = "silence"
    HANG = "hang"
    SLOW = "slow"
    END = "end"
    ERROR = "error"
    CRASH = "crash"
    STORM = "storm"
    FLAP = "flap"
    EMPTY = "empty"
    DTYPE = "dtype"
    TRUNCATED = "truncated"
    NOISE = "noise"
    SIZE = "size"
    GREY = "grey"
    SWAP = "swap"
    GAIN = "gain"
    CLOCK_BACK = "clock_back"
    CLOCK_AHEAD = "clock_ahead"


class Sign(str, Enum):
    """How a fault shows. The first four are the names of counters of SourceStatus, which then have counted up.

    ERROR: a result with the verdict ERROR. SETUP: camera health against the golden reference reports a setup fault.
    """

    FROZEN = "frozen"
    STALLS = "stalls"
    RECONNECTS = "reconnects"
    REJECTED = "rejected"
    ERROR = "error"
    SETUP = "setup"


@dataclass(frozen=True, slots=True)
class FaultAbout:
    """One row of the table.

    Attributes:
        what: one line.
        lasting: it has a length in seconds; else it happens at once and is over.
        amount: how strong; what it counts stands in `what`.
        signs: any one of them shows that it was noticed; none: the stream must go on with nothing but dropped frames.
    """

    what: str
    lasting: bool
    amount: float
    signs: frozenset[Sign]


def _row(what: str, *signs: Sign, lasting: bool = True, amount: float = 0.0) -> FaultAbout:
    return FaultAbout(what, lasting, amount, frozenset(signs))


_LOST = (Sign.RECONNECTS, Sign.STALLS)
_UNUSABLE = (Sign.REJECTED, Sign.ERROR, Sign.RECONNECTS)
_MISFIT = (Sign.REJECTED, Sign.ERROR, Sign.SETUP)

FAULTS: dict[FaultKind, FaultAbout] = {
    FaultKind.FREEZE: _row("the same picture again and again", Sign.FROZEN),
    FaultKind.DROP: _row("a share `amount` of the frames is missing, frame ids have gaps", amount=0.5),
    FaultKind.SILENCE: _row("no frame comes, also after opening again; a read ends on close()", *_LOST),
    FaultKind.HANG: _row("a read does not come back, not even on close(); opening again helps", *_LOST),
    FaultKind.SLOW: _row("frames take `amount` times as long", amount=4.0),
    FaultKind.END: _row("the stream ends", Sign.RECONNECTS, lasting=False),
    FaultKind.ERROR: _row("a read raises SourceError", Sign.RECONNECTS, lasting=False),
    FaultKind.CRASH: _row("a read raises an error of a driver, no SourceError", Sign.RECONNECTS, lasting=False),
    FaultKind.STORM: _row("the stream breaks, `amount` attempts to open fail", *_LOST, lasting=False, amount=3),
    FaultKind.FLAP: _row("it opens, gives one frame and breaks, `amount` times", *_LOST, lasting=False, amount=3),
    FaultKind.EMPTY: _row("frames without a pixel, shape (0, 0, 3)", *_UNUSABLE),
    FaultKind.DTYPE: _row("frames of float32, 0 to 1", *_UNUSABLE),
    FaultKind.TRUNCATED: _row("frames that lack a share `amount` of their rows", *_MISFIT, amount=0.4),
    FaultKind.NOISE: _row("a band of rows, a share `amount` of the height, is noise", amount=0.2),
    FaultKind.SIZE: _row("frames `amount` times as large", *_MISFIT, amount=0.5),
    FaultKind.GREY: _row("frames without colour", Sign.SETUP, Sign.ERROR),
    FaultKind.SWAP: _row("red and blue are swapped", Sign.SETUP, Sign.ERROR),
    FaultKind.GAIN: _row("brightness times `amount`", Sign.SETUP, Sign.ERROR, amount=0.35),
    FaultKind.CLOCK_BACK: _row("capture times `amount` seconds ago", amount=3600.0),
    FaultKind.CLOCK_AHEAD: _row("capture times `amount` seconds ahead", amount=3600.0),
}

GROUPS: dict[str, tuple[FaultKind, ...]] = {
    "all": tuple(FaultKind),
    "corrupt": (FaultKind.EMPTY, FaultKind.DTYPE, FaultKind.TRUNCATED, FaultKind.NOISE),
    "colour": (FaultKind.GREY, FaultKind.SWAP, FaultKind.GAIN),
    "clock": (FaultKind.CLOCK_BACK, FaultKind.CLOCK_AHEAD),
    "none": (),
}


def kinds_named(text: str) -> tuple[FaultKind, ...]:
    """The kinds of a list as in "freeze,drop,corrupt", in the order of the table, each once.

    Raises:
        SourceError: a name that is neither a kind nor a group.
    """
    wanted: set[FaultKind] = set()
    for name in (part.strip() for part in text.split(",")):
        if name in GROUPS:
            wanted.update(GROUPS[name])
        elif name in {kind.value for kind in FaultKind}:
            wanted.add(FaultKind(name))
        else:
            raise SourceError(
                f"chaos:// knows no fault {name!r}",
                mend=f"Use some of {', '.join(kind.value for kind in FaultKind)}, or {', '.join(GROUPS)}",
            )
    return tuple(kind for kind in FaultKind if kind in wanted)
