"""`ablate`: a study file, a data folder and an output folder, to a table; go on where an earlier call was left.

Knows what is refused before any work, and what is told on the way. Does not know the work itself (work.py).
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffad_calibration.dataset import Dataset, open_datasets
from diffad_calibration.evaluation.contestants import Progress, silent
from diffad_export.ablation.expansion import load_plan
from diffad_export.ablation.record import category_of
from diffad_export.ablation.shelf import Shelf
from diffad_export.ablation.table import Table
from diffad_export.ablation.work import Begins, Work, quiet
from diffad_runtime.errors import DataError, InputError


@dataclass(frozen=True, slots=True)
class AblationSummary:
    """How far a study is.

    Attributes:
        out: its folder; table.md and table.csv lie in it.
        table: every row that is finished, in this call or before.
        failures: (row, why), of this call.
        trained: trainings that this call finished.
    """

    out: Path
    table: Table
    failures: tuple[tuple[str, str], ...]
    trained: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.table.to_json(),
            "out": str(self.out),
            "table": str(self.out / "table.md"),
            "trained": self.trained,
            "failures": [{"row": name, "why": why} for name, why in self.failures],
        }


def ablate(
    study: Path,
    data: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    run: Path | None = None,
    device: str = "auto",
    begins: Callable[[Begins], None] = quiet,
    progress: Progress = silent,
) -> AblationSummary:
    """Train, score and measure every row of a study on test sets; go on where an earlier call was left.

    A row that fails is left out, and the rest goes on.

    Args:
        study: TOML or YAML file.
        data: one category in MVTec-AD layout with test images, or a folder of several.
        out: folder of the study; several studies may share it, and then their trainings.
        only: names or shell patterns of rows; all where empty.
        run: a trained run, or a folder of runs, to use instead of what [base] says of teachers.

    Raises:
        InputError: a study that cannot be used, an unknown row, a run that cannot be used, or another `ablate` at work
            in the folder.
        DataError: no test images, files that cannot be read, or other good images than those of a given run.
    """
    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise InputError("ablate runs in one process, torchrun started several", mend="Start it without torchrun")
    plan = load_plan(study, run)
    rows = plan.select(only)
    datasets = _with_tests(data)
    with _alone(out):
        categories = []
        for number, dataset in enumerate(datasets):
            progress("Reading the data", number, len(datasets))
            categories.append(category_of(dataset))
        work = Work(Shelf(plan, data, tuple(datasets), tuple(categories), out), device, progress)
        work.take_over(rows)
        try:
            work.references(rows)
            work.rows(rows, begins)
            work.tidy()
        finally:
            table = work.table()
    return AblationSummary(out, table, tuple(work.failures), work.trained)


def _with_tests(data: Path) -> list[Dataset]:
    datasets = open_datasets(data)
    for dataset in datasets:
        if not dataset.test:
            raise DataError(
                f"{dataset.root} has no labelled test images",
                mend="A study needs test/good, test/<kind> and ground_truth/<kind>/<stem>_mask.png",
            )
    return datasets


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder: two calls at once would train the same run."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / "ablate.lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror or error}", mend="Choose another --out") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another ablate is at work in {out}", mend="Wait for it, or choose another --out"
            ) from None
        yield
