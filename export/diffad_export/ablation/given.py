"""Teachers that a study did not train: a run, or a folder of runs, taken into the study's folder.

The run itself stays as it is. Its teacher is copied, its feature cache is linked, and students and caches lie in the
study's folder like those of its own trainings. Knows run folders. Does not know rows.
"""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffad_calibration.dataset import Dataset
from diffad_export.ablation.record import Category, given_key
from diffad_export.ablation.training import Training
from diffad_export.runfolder import open_run
from diffad_export.runset import RunSet
from diffad_export.wholefolder import whole_folder
from diffad_runtime.errors import InputError

SHORT = 16  # digits of a key in a name


@dataclass(frozen=True, slots=True, eq=False)  # equal where any other training is: a Dataset has no hash
class GivenTraining(Training):
    """A finished training from elsewhere.

    Attributes:
        given: its run folder.
        digest: SHA-256 of the teacher's weights.
        datasets: of its categories.
    """

    given: Path
    digest: str
    datasets: tuple[Dataset, ...]

    @property
    def key(self) -> str:
        """As `given_key`."""
        return given_key(self.digest, self.config, self.categories)

    @property
    def finished(self) -> bool:
        """Whether it is taken over; config.json comes last."""
        return (self.folder / "config.json").is_file()

    def fit(self, device: str, relatives: Iterable[Training]) -> None:  # noqa: ARG002  nothing is trained
        """Take the run over.

        Raises:
            DataError: the data are not those that it was trained on.
        """
        run = open_run(self.given)
        for dataset in self.datasets:
            run.split(dataset)
        (self.folder / "scores").mkdir(parents=True, exist_ok=True)
        for path in sorted((self.given / "scores").glob("*.safetensors")):
            _copy(path, self.folder / "scores" / path.name)
        _copy(self.given / "teacher.safetensors", self.folder / "teacher.safetensors")
        for shard in sorted(self.given.glob("cache/*/rows-*")):
            cache = shard.parent.name
            if not cache.startswith("targets-") and not shard.name.endswith(".part"):
                _link(shard, self.folder / "cache" / cache / shard.name)
        _copy(self.given / "config.json", self.folder / "config.json")


def given_trainings(
    runs: RunSet, datasets: Sequence[Dataset], categories: Sequence[Category], out: Path
) -> dict[str, GivenTraining]:
    """The run of each category.

    Args:
        out: folder of the study.

    Raises:
        DataError: a category that no run knows.
        InputError: a run without a finished teacher or score.
    """
    found: dict[Path, list[tuple[Dataset, Category]]] = {}
    for dataset, category in zip(datasets, categories, strict=True):
        run, name = runs.find(dataset.name)
        run.score(name)
        found.setdefault(run.folder, []).append((dataset, category))
    made: dict[str, GivenTraining] = {}
    for folder, pairs in found.items():
        run = open_run(folder)
        weights = folder / "teacher.safetensors"
        if not weights.is_file():
            raise InputError(f"{folder} has no finished teacher", mend="Train it to the end, with train --resume")
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        own, good = tuple(dataset for dataset, _ in pairs), tuple(category for _, category in pairs)
        key = given_key(digest, run.config, good)
        place = out / "runs" / key[:SHORT]
        one = GivenTraining(place, own[0].root, run.config, good, folder, digest, own)
        made |= {category.name: one for category in good}
    return made


def _link(source: Path, target: Path) -> None:
    """A folder of files that nobody changes, without its bytes; copied where it lies on another disk."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(target) as work:
        for path in source.iterdir():
            try:
                (work / path.name).hardlink_to(path)
            except OSError:
                shutil.copyfile(path, work / path.name)


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)
