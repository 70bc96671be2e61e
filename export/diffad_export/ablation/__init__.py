"""`ablate`: one file in, one table out. Which choices of training and score matter, measured on test sets.

studyfile.py  TOML or YAML -> plain values
paths.py      dotted paths into a configuration
settings.py   what a row is: a teacher by a score, or a student
study.py      the file's fields, rows and seeds
expansion.py  from the file to rows, and what is refused
record.py     what was found, on disk under a key of everything that it depends on
pairs.py      replicates on disk, and differences of rows image by image
training.py   one training of a study: shared by rows, resumed, its cache handed on
given.py      a run that was trained before, in place of one
pace.py       how long the rest will take
shelf.py      where all of one study stands
chain.py      a teacher with a full reverse chain
measure.py    figures of teachers and references
students.py   students, and their figures
work.py       the order of the work
run.py        the whole of `ablate`
table.py      figures as one table
tabletext.py  the table as Markdown and CSV
"""

from diffad_export.ablation.run import AblationSummary, ablate
from diffad_export.ablation.work import Begins

__all__ = ["AblationSummary", "Begins", "ablate"]
