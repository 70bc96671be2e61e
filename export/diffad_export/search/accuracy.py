"""What a candidate's student can do once it is trained, in each precision, and what the teacher can on the same images.

Good images held back, and the same with pasted defects; never a test set. Students learn with such defects too, so the
figure ranks candidates and is not one of real defects. Knows one student. Does not know the search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diffad_calibration.metrics import evaluate_maps
from diffad_calibration.precision.variants import Graphs
from diffad_export.config import DistilConfig
from diffad_export.exportoptions import ExportOptions
from diffad_export.gates import certify
from diffad_export.judging import Judged, judge
from diffad_export.maps import torch_maps
from diffad_export.pasted import PastedSet, paste_set
from diffad_export.runfolder import Run
from diffad_export.search.record import Accuracy
from diffad_export.secondchance import certified
from diffad_export.split import Split
from diffad_export.student_model import StudentModel, make_student
from diffad_export.variants import known
from diffad_runtime.errors import DiffadError, EngineError, InputError, MissingExtraError
from diffad_runtime.parity import FrameOutcome
from diffad_runtime.result import FloatMap

_OF_ALL = (InputError, EngineError, MissingExtraError)
"""Errors that would meet every other candidate as well."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained student by precision; without graphs and levels where the training failed.

    Attributes:
        levels: steps of the 250-step chain, those of its configuration or as they were chosen.
    """

    accuracies: Mapping[str, Accuracy]
    graphs: Mapping[str, Graphs]
    levels: tuple[int, ...] = ()


def teacher_aupro(run: Run, split: Split, pasted: PastedSet) -> float:
    """AUPRO@0.3 of the teacher with its own score.

    Raises:
        InputError: the run has no score of this category.
    """
    score = run.score(split.name)
    model = run.reconstructor(run.teacher(), split.name, score.config, score.fitted)
    return _aupro(torch_maps(run.extractor(), model, pasted.images), pasted)


def gate_set(run: Run, split: Split) -> PastedSet:
    """The images that students are fitted and judged on; the same as `make_student` takes."""
    return paste_set(split.held, seed=run.config.seed)


def train_and_judge(
    run: Run, split: Split, config: DistilConfig, names: Sequence[str], options: ExportOptions, device: torch.device
) -> Trained:
    """Distil, or open what the run has, and judge every precision of `names`, INT8 after its finish where it has one.

    A training that fails, or a precision that the gates refuse, is an answer and no error.

    Args:
        config: where it names no levels, they are chosen.
    """
    try:
        student = make_student(run, split, config, options.score, device)
        judged = judge(student, split, known(list(names)), options, seed=run.config.seed)
    except _OF_ALL:
        raise
    except DiffadError as error:
        return Trained({name: Accuracy(refused=str(error)) for name in names}, {})
    before, minutes = _of(judged.reference, student.pasted), float(student.distilled.facts["seconds"]) / 60
    accuracies, graphs = {}, {}
    for name in names:
        last, refused = _gated(judged, name, student, split, options, device, seed=run.config.seed)
        graphs[name] = last.built.graphs[name]
        accuracies[name] = Accuracy(
            aupro=_of(last.answers[name], student.pasted),
            torch_aupro=before,
            refused=refused,
            minutes=minutes,
            student=student.distilled.folder.name,
        )
    return Trained(accuracies, graphs, student.config.chain_steps or ())


def _gated(
    judged: Judged,
    name: str,
    student: StudentModel,
    split: Split,
    options: ExportOptions,
    device: torch.device,
    *,
    seed: int,
) -> tuple[Judged, str]:
    """What a bundle of FP32 and this precision would hold, and why the gates refuse it, "" where they do not.

    How much AUPRO FP32 may lose is asked anew by every search; of INT8 it decides whether there is a finish.
    """
    try:
        if name == "int8":
            return certified(judged, student, split, known([name]), options, device, seed=seed)[0], ""
        certify(judged.reference, {name: judged.answers[name]}, student.pasted, judged.golden, max_aupro_drop=1.0)
    except _OF_ALL:
        raise
    except DiffadError as error:
        return judged, error.what
    return judged, ""


def _of(found: Sequence[FrameOutcome], pasted: PastedSet) -> float:
    return _aupro(np.stack([outcome.map for outcome in found]), pasted)


def _aupro(maps: FloatMap, pasted: PastedSet) -> float:
    scores = maps.reshape(len(maps), -1).max(1)
    return float(evaluate_maps(maps, pasted.masks, scores, pasted.labels).aupro_30 or 0.0)
