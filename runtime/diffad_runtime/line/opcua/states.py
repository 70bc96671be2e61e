"""Where OPC 40100-1 says that a station is, and the way from one state to the next.

Knows the two state machines of OPC 40100-1, clause 8: VisionStateMachineType and, inside Operational, the automatic
mode. Pure: knows neither nodes nor threads.

    Halted <-- Preoperational --> Operational [ Initialized <--> Ready <--> SingleExecution ]
                     |     ^           |
                     +-> Error <-------+
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from diffad_runtime.line.job import LineState, Phase


class Top(str, Enum):
    """A state of VisionStateMachineType; its value is the browse name."""

    PREOPERATIONAL = "Preoperational"
    HALTED = "Halted"
    ERROR = "Error"
    OPERATIONAL = "Operational"


class Auto(str, Enum):
    """A state of VisionAutomaticModeStateMachineType; its value is the browse name. ContinuousExecution is never
    entered: parts are triggered one by one."""

    INITIALIZED = "Initialized"
    READY = "Ready"
    SINGLE_EXECUTION = "SingleExecution"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the station is. `auto` is None outside Operational."""

    top: Top
    auto: Auto | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One transition, by the browse name that its type has in OPC 40100-1.

    Attributes:
        transition: as in "OperationalToErrorAuto".
        start, end: browse names of both states.
        automatic: it is one of the automatic mode.
    """

    transition: str
    start: str
    end: str
    automatic: bool


BEGIN: Final = Place(Top.PREOPERATIONAL)
"""Of a server that has just been switched on."""

_TOPS: Final = {
    Phase.STARTING: Top.PREOPERATIONAL,
    Phase.READY: Top.OPERATIONAL,
    Phase.FAULT: Top.ERROR,
    Phase.STOPPED: Top.HALTED,
}

# Direct ways between the tops. Halted is left, and Operational entered from there, through Preoperational only.
_DIRECT: Final = {
    (Top.PREOPERATIONAL, Top.OPERATIONAL): "PreoperationalToOperationalAuto",
    (Top.PREOPERATIONAL, Top.ERROR): "PreoperationalToErrorAuto",
    (Top.PREOPERATIONAL, Top.HALTED): "PreoperationalToHaltedAuto",
    (Top.OPERATIONAL, Top.ERROR): "OperationalToErrorAuto",
    (Top.OPERATIONAL, Top.PREOPERATIONAL): "OperationalToPreoperationalAuto",
    (Top.OPERATIONAL, Top.HALTED): "OperationalToHaltedAuto",
    (Top.ERROR, Top.OPERATIONAL): "ErrorToOperationalAuto",
    (Top.ERROR, Top.PREOPERATIONAL): "ErrorToPreoperationalAuto",
    (Top.ERROR, Top.HALTED): "ErrorToHaltedAuto",
    (Top.HALTED, Top.PREOPERATIONAL): "HaltedToPreoperationalAuto",
}
_AUTO: Final = {
    (Auto.INITIALIZED, Auto.READY): "InitializedToReadyAuto",
    (Auto.READY, Auto.INITIALIZED): "ReadyToInitializedAuto",
    (Auto.READY, Auto.SINGLE_EXECUTION): "ReadyToSingleExecutionAuto",
    (Auto.SINGLE_EXECUTION, Auto.READY): "SingleExecutionToReadyAuto",
}


def place(state: LineState, *, recipes: bool, working: bool) -> Place:
    """Where the station is.

    Args:
        state: of the station.
        recipes: the station has some, so that one must be in force before a part is judged.
        working: a job has been asked for and has no verdict yet.
    """
    top = _TOPS[state.phase]
    if top is not Top.OPERATIONAL:
        return Place(top)
    if recipes and not state.recipe:
        return Place(top, Auto.INITIALIZED)
    return Place(top, Auto.SINGLE_EXECUTION if working or state.open > 0 else Auto.READY)


def way(start: Place, end: Place) -> tuple[Step, ...]:
    """The transitions from one place to another, in order; () where it is the same."""
    steps: list[Step] = []
    top = start.top
    if top is not end.top:
        through = [end.top] if (top, end.top) in _DIRECT else [Top.PREOPERATIONAL, end.top]
        for following in through:
            steps.append(Step(_DIRECT[top, following], top.value, following.value, False))
            top = following
    if end.auto is None:
        return tuple(steps)
    # Operational is entered, and entered again, at Initialized.
    auto = start.auto if not steps and start.auto is not None else Auto.INITIALIZED
    while auto is not end.auto:
        following_auto = end.auto if (auto, end.auto) in _AUTO else Auto.READY
        steps.append(Step(_AUTO[auto, following_auto], auto.value, following_auto.value, True))
        auto = following_auto
    return tuple(steps)
