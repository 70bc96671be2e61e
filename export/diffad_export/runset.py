"""Several runs side by side: a folder that holds one for each category, measured as if they were one teacher.

    RUNS/cookie/config.json ...
    RUNS/hazelnut/config.json ...

Knows which run a category belongs to. Does not know how one is measured.
"""

from dataclasses import dataclass
from pathlib import Path

from diffad_export.runfolder import Run, open_run
from diffad_runtime.errors import DataError, InputError


@dataclass(frozen=True, slots=True)
class RunSet:
    """One run, or one for each of several categories; at least one, all of one input size and backbone."""

    folder: Path
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """Any of them, for what all share."""
        return self.runs[0]

    @property
    def categories(self) -> list[str]:
        """Of all runs."""
        return [name for run in self.runs for name in run.categories]

    def find(self, dataset: str) -> tuple[Run, str]:
        """The run and the category for a dataset of that name.

        Raises:
            DataError: none knows it.
        """
        if len(self.runs) == 1:
            return self.first, self.first.category(dataset)
        for run in self.runs:
            if dataset in run.categories:
                return run, dataset
        raise DataError(
            f"the runs in {self.folder} know the categories {', '.join(self.categories)}, not {dataset!r}",
            mend="Name the folder of a category as in training, or train with it",
        )


def open_runs(folder: Path) -> RunSet:
    """Open a run, or a folder of runs.

    Raises:
        InputError: neither, a run that cannot be read, or runs that cannot be measured together.
    """
    if (folder / "config.json").exists() or not folder.is_dir():
        return RunSet(folder, (open_run(folder),))
    inside = sorted(path.parent for path in folder.glob("*/config.json"))
    if not inside:
        return RunSet(folder, (open_run(folder),))  # says what is missing
    runs = RunSet(folder, tuple(open_run(one) for one in inside))
    names = runs.categories
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"several runs in {folder} know {', '.join(twice)}", mend="Move all but one of them, or name one run"
        )
    for run in runs.runs[1:]:
        for what in ("size", "backbone", "features"):
            mine, theirs = getattr(run.config, what), getattr(runs.first.config, what)
            if mine != theirs:
                raise InputError(
                    f"runs in {folder} differ in {what}: {run.folder.name} has {mine}, "
                    f"{runs.first.folder.name} has {theirs}",
                    mend="Measure them one by one",
                )
    return runs
