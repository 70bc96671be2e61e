"""`ablate`: one file in, one table out. Which choices of training and score matter, measured on test sets.

studyfile.py  TOML or YAML -> plain values
paths.py      dotted paths into TrainConfig
study.py      the file's fields, and their expansion into rows
record.py     what was found, on disk under a key of everything that it depends on
training.py   one training of a study: shared by rows, resumed, its cache handed on
pace.py       how long the rest will take
shelf.py      where all of one study stands
measure.py    figures of teachers and references
run.py        the order of the work
table.py      figures as one table: Markdown, CSV, JSON
"""

from diffad_export.ablation.run import AblationSummary, Begins, ablate

__all__ = ["AblationSummary", "Begins", "ablate"]
