"""A model's life on a device: installed, tried, committed or rolled back; two generations kept; whole at every moment.

disk.py          what is done to files, and in which order it is on the disk
locks.py         who may change the folder, and who may only install
state.py         which generation is what: a pure state machine, and the file that holds it
folder.py        the folder: reads and writes the state, sweeps what a kill left behind
installing.py    a bundle becomes the trial generation
changing.py      commit and rollback
starting.py      which generation to run now, verified whole
selftest.py      the engine and the golden frames, before a bundle may be tried
trial.py         is the trial healthy? a pure function of what was seen
binomial.py      how likely so many of so many are
probation.py     counts a running trial's parts, and commits or rolls back
watch.py         is another generation wanted than the one that runs?
running.py       an inspector that follows the folder while it judges
reporting.py     all of it, for people and machines

docs/models.md has the picture, and what a kill or a power cut at each point leaves.
"""

from diffad_runtime.models.changing import Changed, commit, rollback
from diffad_runtime.models.installing import Installed, install
from diffad_runtime.models.probation import Probation
from diffad_runtime.models.reporting import GenerationStatus, ModelsStatus, status
from diffad_runtime.models.selftest import SelfTest, self_test
from diffad_runtime.models.starting import Active, active
from diffad_runtime.models.trial import Action, Decision, Observed, Reference, TrialSettings, decide
from diffad_runtime.models.watch import Watch

__all__ = [
    "Action",
    "Active",
    "Changed",
    "Decision",
    "GenerationStatus",
    "Installed",
    "ModelsStatus",
    "Observed",
    "Probation",
    "Reference",
    "SelfTest",
    "TrialSettings",
    "Watch",
    "active",
    "commit",
    "decide",
    "install",
    "rollback",
    "self_test",
    "status",
]
