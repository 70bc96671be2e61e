"""`eval` on a hand-made bundle and a hand-made test set: figures, JSON keys, pictures chosen, and what is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_calibration.dataset import open_dataset
from diffad_calibration.evaluation import BundleContestant, Contestant, evaluate, reference_contestants
from diffad_calibration.evaluation.bundle import EvalRequest, evaluate_bundle
from diffad_calibration.evaluation.examples import make_examples, pick_rows
from diffad_calibration.evaluation.runner import ClassResult
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import DataError, InputError
from diffad_runtime.result import FloatMap, Image

METRICS = {"aupro_30", "aupro_05", "pixel_auroc", "pixel_ap", "image_auroc", "image_ap", "f1_max", "images"}
SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey parts, to which the hand-made bundle gives scores near 0; white or black squares are its defects."""
    root = tmp_path_factory.mktemp("mvtec") / "square"
    rng = np.random.default_rng(0)

    def write(place: str, count: int, level: int | None = None) -> None:
        (root / place).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(120, 137, (SIZE, SIZE, 3), dtype=np.uint8)
            if level is not None:
                mask = np.zeros((SIZE, SIZE), np.uint8)
                mask[16 : 16 + 4 * (i + 2), 8:24] = 255
                image[mask > 0] = level
                truth = root / "ground_truth" / Path(place).name
                truth.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(truth / f"{i}_mask.png"), mask)
            cv2.imwrite(str(root / place / f"{i}.png"), image)

    write("train/good", 9)
    write("test/good", 5)
    write("test/white", 4, 255)
    write("test/black", 4, 0)
    return root


def test_a_bundle_is_measured_with_all_its_variants(tiny_bundle: Path, data: Path) -> None:
    outcome = evaluate_bundle(open_bundle(tiny_bundle), EvalRequest(data, threads=1))
    assert outcome.report is None
    record = json.loads(json.dumps(outcome.evaluation.to_json(), allow_nan=False))
    assert record.keys() == {"classes", "macro", "model", "resolution", "models"}
    assert (record["model"], record["resolution"]) == ("student fp32", SIZE)
    assert list(record["models"]) == ["student fp32", "student second"]
    assert list(record["classes"]) == ["square"]
    assert record["macro"].keys() == record["classes"]["square"].keys() == METRICS
    for model in record["models"].values():
        assert model.keys() == {"classes", "macro"}
        assert model["macro"].keys() == METRICS
    # The bundle calls grey good and the defects are far from grey.
    assert record["macro"]["image_auroc"] == 1
    assert record["macro"]["f1_max"] == 1
    assert record["macro"]["aupro_30"] > 0.95
    assert record["macro"]["images"] == 13
    assert record["classes"]["square"] == record["models"]["student fp32"]["classes"]["square"]


def test_references_and_guests_are_measured_beside_it(tiny_bundle: Path, data: Path) -> None:
    told: list[str] = []
    outcome = evaluate_bundle(
        open_bundle(tiny_bundle),
        EvalRequest(data, references=("padim",), threads=1),
        [Contestant("zero", lambda images: np.zeros(images.shape[:3], np.float32), lambda one: float(one.max()))],
        lambda what, _done, _total: told.append(what),
    )
    (result,) = outcome.evaluation.classes
    assert list(result.models) == ["student fp32", "student second", "zero", "PaDiM"]
    assert (result.models["PaDiM"].metrics.pixel_auroc or 0) > 0.9
    assert result.models["zero"].metrics.image_auroc == 0.5
    assert {"Fitting PaDiM", "Scoring with zero"} <= set(told)


def test_the_report_is_written_with_its_pictures(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    outcome = evaluate_bundle(open_bundle(tiny_bundle), EvalRequest(data, threads=1, report=tmp_path / "report"))
    assert outcome.report == tmp_path / "report" / "index.html"
    page = outcome.report.read_text(encoding="utf-8")
    assert "Evaluation of tiny" in page
    assert "8 of 8 defective parts rejected, 0 of 5 good parts rejected" in page
    assert "5 good, 8 defective" in page
    assert len(list((tmp_path / "report").rglob("*.png"))) >= 4


def test_maps_are_asked_for_in_parts_and_kept_in_order(data: Path) -> None:
    asked: list[int] = []

    def maps(images: Image) -> FloatMap:
        asked.append(len(images))
        return np.asarray(np.abs(images.astype(np.float32).mean(3) - 128), np.float32)

    contestant = Contestant("grey", maps, lambda one: float(one.max()))
    (result,) = evaluate(open_dataset(data), [contestant], SIZE, first="grey").classes
    assert asked == [8, 5]
    scores = result.models["grey"].scores
    assert scores[result.labels == 1].min() > 100
    assert scores[result.labels == 0].max() < 20
    assert result.kinds == ["black"] * 4 + ["good"] * 5 + ["white"] * 4
    assert [bool(mask.any()) for mask in result.masks] == [kind != "good" for kind in result.kinds]


def test_figures_are_those_of_all_classes_and_the_first_model(data: Path) -> None:
    blind = Contestant("blind", lambda images: np.zeros(images.shape[:3], np.float32), lambda one: float(one.max()))
    seeing = Contestant("seeing", lambda i: np.abs(i.astype(np.float32).mean(3) - 128), lambda one: float(one.max()))
    record = evaluate(open_dataset(data), [seeing, blind], SIZE, first="blind").to_json()
    assert record["model"] == "blind"
    assert record["macro"] == record["models"]["blind"]["macro"]  # type: ignore[index]
    assert record["macro"] != record["models"]["seeing"]["macro"]  # type: ignore[index]


def test_no_test_images(tiny_bundle: Path, data: Path) -> None:
    with pytest.raises(DataError, match=r"has no labelled test images\. Evaluation needs test/good"):
        evaluate_bundle(open_bundle(tiny_bundle), EvalRequest(data / "train" / "good"))


def test_an_unknown_reference(tiny_bundle: Path, data: Path) -> None:
    with pytest.raises(InputError, match=r"unknown reference 'ganomaly'\. Choose from: padim, patchcore"):
        evaluate_bundle(open_bundle(tiny_bundle), EvalRequest(data, references=("padim", "ganomaly")))
    assert reference_contestants((), open_bundle(tiny_bundle), np.zeros((1, SIZE, SIZE, 3), np.uint8)) == []


def result_of(kinds: list[str]) -> ClassResult:
    count = len(kinds)
    labels = np.array([kind != "good" for kind in kinds], np.int64)
    images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    return ClassResult("c", images, images[..., 0], labels, kinds, [str(i) for i in range(count)])


def test_pictures_show_each_kind_its_worst_miss_and_the_worst_false_alarm() -> None:
    kinds = ["good"] * 5 + ["a"] * 5 + ["b"] * 5
    scores = np.array([0.1, 0.9, 0.3, 0.2, 0.4, 5, 1, 3, 2, 4, 0.5, 9, 8, 7, 6])
    rows = pick_rows(result_of(kinds), scores)
    assert len(rows) == len(set(rows)) == 8
    assert rows[:2] == [7, 13]  # the median of a, of b
    assert rows[2:4] == [6, 10]  # the lowest score of each: the worst miss
    assert rows[-2:] == [1, 2]  # the highest good score, then the median one


def test_pictures_are_limited_and_keep_the_good_ones() -> None:
    kinds = [f"kind{i}" for i in range(9) for _ in range(3)] + ["good"] * 4
    rows = pick_rows(result_of(kinds), np.arange(31.0), most=12)
    assert len(rows) == 12
    assert [kinds[row] for row in rows[-2:]] == ["good", "good"]
    assert {kinds[row] for row in rows[:9]} == {f"kind{i}" for i in range(9)}
    assert all(kind != "good" for kind in [kinds[row] for row in rows[:10]])
    alone = pick_rows(result_of(["a", "a"]), np.array([1.0, 2.0]))
    assert sorted(alone) == [0, 1]


def test_an_example_holds_what_the_engine_said(tiny_bundle: Path, data: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    shown = BundleContestant(bundle, "fp32", threads=1)
    (result,) = evaluate(open_dataset(data), [shown.contestant()], SIZE, first="student fp32").classes
    good, bad = result.kinds.index("good"), result.kinds.index("white")
    examples = make_examples(result, [bad, good], shown.engine, bundle.manifest, "student fp32")
    shown.close()
    assert [(e.kind, e.verdict) for e in examples] == [("white", "NG"), ("good", "OK")]
    assert examples[0].truth is not None
    inside = examples[0].mask[examples[0].truth > 0]
    assert inside.mean() > 250
    assert examples[1].mask.max() == 0
    assert examples[0].score == result.models["student fp32"].scores[bad]
    assert examples[0].fused.shape == (SIZE, SIZE)
    assert examples[0].pixel.shape == examples[0].feature.shape == (16, 16)
