"""A camera that goes wrong on purpose, scripted by a seed or by hand: to see that a line survives it.

    source = open_source("chaos://?seed=7&faults=freeze,silence,corrupt")

`ChaosPlan` is the same with its log of what was planted and when.
"""

from diffad_runtime.chaos.camera import ChaosCamera, open_chaos
from diffad_runtime.chaos.config import ChaosConfig, read_script
from diffad_runtime.chaos.kinds import FAULTS, GROUPS, FaultAbout, FaultKind, Sign
from diffad_runtime.chaos.plan import ChaosPlan, PlantedFault
from diffad_runtime.chaos.timetable import ScriptedFault, seeded, until

__all__ = [
    "FAULTS",
    "GROUPS",
    "ChaosCamera",
    "ChaosConfig",
    "ChaosPlan",
    "FaultAbout",
    "FaultKind",
    "PlantedFault",
    "ScriptedFault",
    "Sign",
    "open_chaos",
    "read_script",
    "seeded",
    "until",
]
