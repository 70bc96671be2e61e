"""A search's record: nothing is lost, and nothing is taken for something else."""

from dataclasses import replace
from pathlib import Path

import pytest

from diffad_calibration.dataset import open_dataset
from diffad_export.config import STUDENT_SCORE, DistilConfig, ThresholdConfig
from diffad_export.exportoptions import ExportOptions
from diffad_export.runfolder import Run, open_run
from diffad_export.search.candidates import Candidate, Shape
from diffad_export.search.record import Accuracy, Record, accuracy_key, timing_key
from diffad_export.search.stopwatch import Timing
from diffad_export.split import Split

ONE = Candidate(Shape(1, 8), "int8")
TIMING = Timing(p50=5.0, p95=6.0, around=3.0, rounds=3)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Run:
    """The run, with a folder of its own for what is written."""
    for name in ("config.json", "teacher.safetensors", "scores"):
        (tmp_path / name).symlink_to(tiny_run / name)
    return open_run(tmp_path)


@pytest.fixture
def split(run: Run, line_data: Path) -> Split:
    return run.split(open_dataset(line_data))


def test_what_is_added_is_found_again(run: Run, split: Split) -> None:
    record = Record(run, split)
    assert list(run.folder.glob("search-*")) == []
    record.add(timings={"a": TIMING}, teacher=0.9)
    record.add(timings={"b": TIMING}, levels={"2": (25, 50)})
    record.add(accuracies={"a": Accuracy(aupro=0.8, torch_aupro=0.81, minutes=1.5, student="student-1")})
    again = Record(run, split).found
    assert again == record.found
    assert (set(again.timings), again.teacher, again.levels) == ({"a", "b"}, 0.9, {"2": (25, 50)})
    assert again.accuracies["a"].aupro == 0.8
    assert [path.name for path in run.folder.glob("search-*")] == [record.path.name]


def test_what_was_timed_on_a_busy_machine_is_timed_anew(run: Run, split: Split) -> None:
    record = Record(run, split)
    record.add(timings={"quiet": TIMING, "busy": TIMING.model_copy(update={"waited": 0.4})}, teacher=0.9)
    assert set(record.found.timings) == {"quiet", "busy"}
    again = Record(run, split).found
    assert (set(again.timings), again.teacher) == ({"quiet"}, 0.9)


def test_a_broken_record_is_begun_anew(run: Run, split: Split) -> None:
    record = Record(run, split)
    record.add(teacher=0.9)
    text = record.path.read_text()
    for broken in (text[: len(text) // 2], text.replace('"format": 1', '"format": 0'), "[]"):
        record.path.write_text(broken)
        assert Record(run, split).found.teacher is None


def test_other_images_and_another_teacher_have_a_record_of_their_own(run: Run, split: Split) -> None:
    first = Record(run, split).path
    assert Record(run, replace(split, digest="other")).path != first
    teacher = run.folder / "teacher.safetensors"
    weights = teacher.read_bytes()
    teacher.unlink()
    teacher.write_bytes(weights + b" ")
    assert Record(run, split).path != first


def test_keys_tell_apart_what_changes_a_figure() -> None:
    distil, options = DistilConfig(), ExportOptions()
    keys = [
        accuracy_key(ONE, distil, options),
        accuracy_key(Candidate(ONE.shape, "fp32"), distil, options),
        accuracy_key(ONE, distil.model_copy(update={"seed": 1}), options),
        accuracy_key(ONE, distil, replace(options, score=STUDENT_SCORE.model_copy(update={"smoothing": 0.0}))),
        accuracy_key(ONE, distil, replace(options, thresholds=ThresholdConfig(false_reject_rate=0.5))),
        accuracy_key(ONE, distil, replace(options, finish="off")),
        accuracy_key(ONE, distil, replace(options, max_aupro_drop=0.5)),  # decides whether INT8 gets another chance
        accuracy_key(ONE, distil, replace(options, fallback=False)),
        accuracy_key(ONE, distil, replace(options, estimator="mse")),
        accuracy_key(ONE, distil, replace(options, labelled=Path("parts"))),
    ]
    assert len(set(keys)) == len(keys)
    # what has no part in a figure leaves its key alone
    for candidate, plain in (
        (Candidate(ONE.shape, "fp32"), options),
        (ONE, replace(options, finish="off", fallback=False)),
    ):
        loose = replace(plain, max_aupro_drop=0.5, precisions=("fp32",), category="other", device="cpu")
        assert accuracy_key(candidate, distil, plain) == accuracy_key(candidate, distil, loose)
    two_draws = STUDENT_SCORE.model_copy(update={"draws": 2})
    with_pixels = STUDENT_SCORE.model_copy(update={"alpha": None})
    times = [
        timing_key(ONE, "here", STUDENT_SCORE),
        timing_key(ONE, "there", STUDENT_SCORE),
        timing_key(ONE, "here", two_draws),
        timing_key(ONE, "here", with_pixels),
        timing_key(ONE, "here", STUDENT_SCORE, trained=keys[0]),
    ]
    assert len(set(times)) == len(times)
    # what leaves a graph as it is leaves its timing as it is
    smooth = STUDENT_SCORE.model_copy(update={"smoothing": 0.0})
    assert timing_key(ONE, "here", smooth) == times[0]
