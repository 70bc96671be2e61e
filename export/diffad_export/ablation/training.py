"""One training of a study: shared by all rows that differ in the score alone, resumed where it was left.

Students lie in the folder of their teacher. Knows run folders. Does not know rows or figures.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffad_export.ablation.record import Category, training_key
from diffad_export.checkpoint import load_tensors
from diffad_export.config import ScoreConfig, TrainConfig
from diffad_export.runfolder import Run, open_run
from diffad_export.train import train


@dataclass(frozen=True, slots=True)
class Training:
    """What is to be trained, and where.

    Attributes:
        folder: the run folder.
        source: data folder of a category, or of all of them.
        config: of the row that comes first, or with the base's score where students are to learn from it; its score is
            the one that the run folder keeps.
        categories: whose good images it sees.
    """

    folder: Path
    source: Path
    config: TrainConfig
    categories: tuple[Category, ...]

    @property
    def key(self) -> str:
        """As `training_key`."""
        return training_key(self.config, self.categories)

    @property
    def features_key(self) -> str:
        """The same for trainings that see the same images and features: one cache serves them."""
        plain = TrainConfig()
        rest = {"teacher": plain.teacher, "optimiser": plain.optimiser}
        return training_key(self.config.model_copy(update=rest), self.categories)

    @property
    def kept_score(self) -> ScoreConfig:
        """That of the folder: an earlier study may have begun it with another than `config` has."""
        begun = (self.folder / "config.json").exists()
        return (open_run(self.folder).config if begun else self.config).score

    @property
    def finished(self) -> bool:
        """Whether the last file that `train` writes is there."""
        return all((self.folder / "scores" / f"{c.name}.safetensors").is_file() for c in self.categories)

    def fit(self, device: str, relatives: Iterable["Training"]) -> None:
        """Train to the end, or go on where it was left.

        Args:
            relatives: other trainings, whose feature cache is taken over where it serves; they do without it then.
        """
        config = self.config
        if (self.folder / "config.json").exists():
            # The row that began it may have had another score; `train` resumes only what is the same throughout.
            config = open_run(self.folder).config
        else:
            self._inherit(relatives)
        train(self.source, self.folder, config, resume=True, device=device)

    def run(self) -> Run:
        """The finished run."""
        return open_run(self.folder)

    def facts(self) -> dict[str, Any]:
        """Steps, seconds, parameters, gflops of the finished training."""
        return load_tensors(self.folder / "teacher.safetensors")[1]

    def tidy(self, ahead: Iterable["Training"], *, students: bool = False) -> None:
        """Drop what only an unfinished training needs: gigabytes a row.

        Args:
            ahead: trainings still to come; the feature cache is kept for them where one can use it.
            students: whether students of this teacher are still to come; they use the same cache.
        """
        if not self.finished:
            return
        for path in self.folder.glob("teacher-checkpoint*"):
            path.unlink()
        for done in self.folder.glob("student-*/student.safetensors"):
            for path in done.parent.glob("student*-checkpoint*"):
                path.unlink()
        if not students and all(other.features_key != self.features_key for other in ahead):
            shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def drop_targets(self) -> None:
        """Drop the teacher's answers that students learned from: about a gigabyte a level and seed at 256 px."""
        for path in (self.folder / "cache").glob("targets-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _inherit(self, relatives: Iterable["Training"]) -> None:
        for other in relatives:
            cache = other.folder / "cache"
            if other.finished and other.features_key == self.features_key and cache.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                cache.rename(self.folder / "cache")
                return
