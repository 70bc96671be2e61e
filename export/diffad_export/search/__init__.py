"""`export --budget-ms`: the most accurate student that a latency budget allows, found before most are ever trained.

candidates.py  steps x width x precision, and what was asked for
pareto.py      who is chosen, who is dominated, who is still worth a training: pure functions of the figures
estimate.py    latency of what was not timed, from the operations and two timings
stopwatch.py   graphs as they would run here, timed in interleaved rounds
blank.py       graphs of students that nobody trained: speed does not depend on what was learned
accuracy.py    a trained candidate's figures, in each precision
record.py      what was measured, on disk, so that a second call goes on
table.py       everything that is known of every candidate, for provenance and terminal; the nearest misses
run.py         the order of the work
"""

from diffad_export.search.candidates import PRECISIONS, SearchOptions
from diffad_export.search.run import Watch, search_export

__all__ = ["PRECISIONS", "SearchOptions", "Watch", "search_export"]
