"""What a search found, on disk in RUN/search-<digest>.json, whole after every step: a second call goes on from there.

One file for a teacher and a category's good images, whatever is asked of it: another budget, other widths, another
machine find what was measured before. The keys say what a figure depends on.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffad_export.config import DistilConfig, ScoreConfig
from diffad_export.exportoptions import ExportOptions
from diffad_export.runfolder import Run
from diffad_export.search.candidates import Candidate
from diffad_export.search.stopwatch import BUSY, Timing
from diffad_export.split import Split
from diffad_runtime.atomic import replacing

FORMAT: Final = 1
"""To be raised when a figure of this version means something else than before."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Accuracy(_Strict):
    """Of a trained candidate.

    Attributes:
        aupro: AUPRO@0.3 on good images with pasted defects, by the engine; torch_aupro: by torch. None where the
            training failed.
        refused: why the gates of parity do not let it pass; "" where they do.
        minutes: of the training.
        student: its folder in the run.
    """

    aupro: float | None = None
    torch_aupro: float | None = None
    refused: str = ""
    minutes: float = 0.0
    student: str = ""


class Found(_Strict):
    """Contents of the file.

    Attributes:
        teacher: AUPRO@0.3 of the teacher on the same images.
        levels: chosen for each number of steps.
        timings: of students that nobody trained, and of trained ones.
        accuracies: of trained ones.
    """

    format: Literal[1] = FORMAT
    teacher: float | None = None
    levels: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    timings: dict[str, Timing] = Field(default_factory=dict)
    accuracies: dict[str, Accuracy] = Field(default_factory=dict)


class Record:
    """The file, read once and written after every addition.

    Args:
        run, split: whose search.
    """

    def __init__(self, run: Run, split: Split) -> None:
        self.path = run.folder / f"search-{_digest(run, split)}.json"
        self.found = self._read()

    def add(self, **changes: Any) -> None:
        """Replace a field; a mapping is merged into the one that is there."""
        value = self.found.model_dump()
        for name, change in changes.items():
            value[name] = {**value[name], **change} if isinstance(change, Mapping) else change
        self.found = Found.model_validate(value)
        with replacing(self.path) as temporary:
            temporary.write_text(self.found.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _read(self) -> Found:
        try:
            found = Found.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            return Found()  # none yet, or of another version: measured anew
        # So is what was timed while others had the cores.
        quiet = {key: timing for key, timing in found.timings.items() if timing.waited <= BUSY}
        return found.model_copy(update={"timings": quiet})


def accuracy_key(candidate: Candidate, distil: DistilConfig, options: ExportOptions) -> str:
    """Of a trained candidate.

    Args:
        distil: of its shape, levels chosen or not: they depend on the teacher and the images alone.
    """
    settings = [one.model_dump(mode="json") for one in (distil, options.score, options.thresholds)]
    # What INT8 may lose decides whether it gets a second chance, and with it all its figures.
    chances = (options.estimator, options.fallback, options.finish) if candidate.precision == "int8" else None
    drop = options.max_aupro_drop if chances and (options.fallback or options.finish == "auto") else None
    named = json.dumps([settings, chances, drop, str(options.labelled or "")], sort_keys=True)
    return f"{candidate}: {hashlib.sha256(named.encode()).hexdigest()[:12]}"


def timing_key(candidate: Candidate, track: str, score: ScoreConfig, trained: str = "") -> str:
    """Of a candidate on a machine and frames; `trained`: its accuracy key, "" for a student that nobody trained."""
    return f"{candidate}: {track}: {_graph_form(score)}" + (f": {trained}" if trained else "")


def _graph_form(score: ScoreConfig) -> str:
    """What of a score changes the graph's shape."""
    pixels = "with pixels" if score.alpha != 0 else "without pixels"
    weights = "statistics per location" if score.per_location else "one statistic"
    return f"{score.feature_score}, {pixels}, {score.draws} draws, {weights}"


def _digest(run: Run, split: Split) -> str:
    teacher = hashlib.sha256((run.folder / "teacher.safetensors").read_bytes()).hexdigest()
    score = hashlib.sha256(run.score_file(split.name).read_bytes()).hexdigest()
    return hashlib.sha256(f"{FORMAT} {teacher} {score} {split.digest}".encode()).hexdigest()[:12]
