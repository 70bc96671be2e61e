"""Students of a study: made from the teachers' run folders, measured by torch or as exported.

A student is trained once for all rows that ask for its distillation; what two rows in turn share, levels, score and
statistics, is kept in memory between them. Knows students, graphs and engines. Does not know what is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation import Contestant, Lineup
from diffad_calibration.evaluation.contestants import Progress, nothing_to_close
from diffad_export.ablation.measure import measure_one
from diffad_export.ablation.pairs import Measured
from diffad_export.ablation.settings import Setting, StudentConfig
from diffad_export.ablation.training import Training
from diffad_export.config import DistilConfig
from diffad_export.device import pick_device
from diffad_export.distil import Distilled
from diffad_export.judging import calibration_images
from diffad_export.maps import torch_maps
from diffad_export.networks.cost import network_cost
from diffad_export.networks.student import Student
from diffad_export.runfolder import Run
from diffad_export.split import Split
from diffad_export.student_model import StudentModel, make_student
from diffad_export.variants import build_graphs, known
from diffad_runtime.manifest import ImageScore
from diffad_runtime.result import FloatMap, Image
from diffad_runtime.scoring import image_score

STUDENT = "student"


@dataclass(frozen=True, slots=True)
class StudentFacts:
    """Of one row.

    Attributes:
        minutes: of the trainings of its students; `fresh_minutes`: of those that this call finished.
        parameters: of one student; gflops: of one evaluation.
    """

    minutes: float
    fresh_minutes: float
    parameters: int
    gflops: float


@dataclass(slots=True)
class Students:
    """Makes and measures them; `device` trains."""

    device: str
    _levels: dict[tuple[Path, str, DistilConfig], tuple[int, ...]] = field(default_factory=dict)
    _made: dict[tuple[Path, str], tuple[StudentConfig, StudentModel]] = field(default_factory=dict)

    def measure(
        self,
        data: Path,
        trainings: Mapping[str, Training],
        setting: Setting,
        *,
        confidence: bool,
        progress: Progress,
    ) -> tuple[Measured, StudentFacts]:
        """The student of every category under `data`, from its finished teacher.

        Args:
            trainings: by category.
            setting: of a student's row.
            confidence: with intervals.

        Raises:
            DataError: files that cannot be read, or other good images than those of the training.
            InputError: more levels are wanted than the teacher was trained at.
        """
        config = setting.student or StudentConfig()
        every: list[Distilled] = []
        fresh: list[Distilled] = []

        def contestants(dataset: Dataset) -> list[Contestant]:
            run = trainings[dataset.name].run()
            split, before = run.split(dataset), set(run.folder.glob("student-*/student.safetensors"))
            model = self._make(run, split, config)
            every.append(model.distilled)
            if model.distilled.folder / "student.safetensors" not in before:
                fresh.append(model.distilled)
            return [_contestant(run, split, model, config)]

        lineup = Lineup(STUDENT, setting.train.size, contestants)
        measured = measure_one(data, lineup, confidence=confidence, progress=progress)
        first = every[0].student
        return measured, StudentFacts(
            minutes=sum(one.facts["seconds"] for one in every) / 60,
            fresh_minutes=sum(one.facts["seconds"] for one in fresh) / 60,
            parameters=sum(parameter.numel() for parameter in first.parameters()),
            gflops=network_cost(Student(first.layout, config.distil.width), setting.train.size).gflops,
        )

    def _make(self, run: Run, split: Split, config: StudentConfig) -> StudentModel:
        """As `make_student`; what the row before has made already is taken from there."""
        alike = config.model_copy(update={"precision": "torch"})
        place, distil = (run.folder, split.name), config.distil
        before = self._made.get(place)
        if before is not None and before[0] == alike:
            return before[1]
        self._made.pop(place, None)
        if distil.chain_steps is None:
            chosen = self._levels.get((*place, _choice(distil)))
            distil = distil if chosen is None else distil.model_copy(update={"chain_steps": chosen})
        model = make_student(run, split, distil, config.student_score, pick_device(self.device))
        if config.distil.chain_steps is None and model.config.chain_steps is not None:
            self._levels[(*place, _choice(config.distil))] = model.config.chain_steps
        self._made[place] = (alike, model)
        return model


def _choice(distil: DistilConfig) -> DistilConfig:
    """What the choice of levels depends on."""
    return DistilConfig(steps=distil.steps, chain_steps=None)


def _contestant(run: Run, split: Split, made: StudentModel, config: StudentConfig) -> Contestant:
    how = ImageScore(pixels=min(config.student_score.top_pixels, run.config.size**2))
    maps, close = _maps(run, split, made, config.precision)
    return Contestant(STUDENT, maps, lambda one: image_score(one, how), note=config.precision, close=close)


def _maps(
    run: Run, split: Split, made: StudentModel, precision: str
) -> tuple[Callable[[Image], FloatMap], Callable[[], None]]:
    """What gives its maps, and what frees it."""
    model, extractor = made.model, made.extractor
    if precision == "torch":
        return lambda images: torch_maps(extractor, model, images), nothing_to_close
    built = build_graphs(extractor, model, known([precision]), calibration_images(split.train, run.config.seed))
    engine = built.graphs[precision].engine(precision, run.config.size)
    return lambda images: np.stack([engine.infer(image).anomaly for image in images]), engine.close
