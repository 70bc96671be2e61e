"""`eval` on a hand-made bundle and hand-made test sets: figures, JSON keys, pictures chosen, and what is refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_calibration.dataset import Dataset, open_dataset, open_datasets
from diffad_calibration.evaluation import (
    BundleContestant,
    Contestant,
    Display,
    EvalRequest,
    Evaluation,
    ImageBatches,
    Lineup,
    Parts,
    PictureCounts,
    evaluate,
    evaluate_bundle,
    evaluate_lineup,
    reference_contestants,
)
from diffad_calibration.evaluation.contestants import BATCH
from diffad_calibration.evaluation.examples import choose
from diffad_calibration.evaluation.results import ClassResult
from diffad_calibration.metrics import Bootstrap
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import DataError, InputError
from diffad_runtime.result import FloatMap, Image

METRICS = {"aupro_30", "aupro_05", "pixel_auroc", "pixel_ap", "image_auroc", "image_ap", "f1_max", "images"}
SIZE = 64


FEW = Bootstrap(resamples=40)


def write_category(root: Path, seed: int = 0) -> Path:
    """Grey parts, to which the hand-made bundle gives scores near 0; white or black squares are its defects."""
    rng = np.random.default_rng(seed)

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


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_category(tmp_path_factory.mktemp("mvtec") / "square")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three categories."""
    folder = tmp_path_factory.mktemp("three")
    for seed, name in enumerate(("bolt", "nut", "ring")):
        write_category(folder / name, seed)
    return folder


def peak(one: FloatMap) -> float:
    return float(one.max())


def seeing(name: str = "seeing") -> Contestant:
    return Contestant(name, lambda images: np.abs(images.astype(np.float32).mean(3) - 128), peak)


def blind(name: str = "blind") -> Contestant:
    return Contestant(name, lambda images: np.zeros(images.shape[:3], np.float32), peak)


def run(contestants: Sequence[Contestant], data: Path, first: str | None = None, **options: object) -> Evaluation:
    return evaluate([open_dataset(data)], lambda _: contestants, SIZE, first=first, **options)  # type: ignore[arg-type]


def test_a_bundle_is_measured_with_all_its_variants(tiny_bundle: Path, data: Path) -> None:
    outcome = evaluate_bundle(open_bundle(tiny_bundle), EvalRequest(data, threads=1, bootstrap=None))
    assert outcome.report is None
    record = json.loads(json.dumps(outcome.evaluation.to_json(), allow_nan=False))
    assert record.keys() == {"classes", "macro", "model", "resolution", "models"}
    assert (record["model"], record["resolution"]) == ("student fp32", SIZE)
    assert list(record["models"]) == ["student fp32", "student second"]
    assert list(record["classes"]) == ["square"]
    assert record["macro"].keys() == record["classes"]["square"].keys() == METRICS
    for model in record["models"].values():
        assert model.keys() == {"classes", "macro", "graphs_mb", "decision_flips"}
        assert model["macro"].keys() == METRICS
    # The bundle calls grey good and the defects are far from grey.
    assert record["macro"]["image_auroc"] == 1
    assert record["macro"]["f1_max"] == 1
    assert record["macro"]["aupro_30"] > 0.95
    assert record["macro"]["images"] == 13
    assert record["classes"]["square"] == record["models"]["student fp32"]["classes"]["square"]


def test_references_and_guests_are_measured_beside_it(tiny_bundle: Path, data: Path) -> None:
    told: list[str] = []
    closed: list[str] = []
    shared = replace(blind("zero"), close=lambda: closed.append("zero"))
    outcome = evaluate_bundle(
        open_bundle(tiny_bundle),
        EvalRequest(data, references=("padim",), threads=1, bootstrap=FEW),
        [shared, lambda dataset: replace(seeing(), note=f"made for {dataset.name}")],
        lambda what, _done, _total: told.append(what),
    )
    (result,) = outcome.evaluation.classes
    assert list(result.models) == ["student fp32", "student second", "zero", "seeing", "PaDiM"]
    assert (result.models["PaDiM"].metrics.pixel_auroc or 0) > 0.9
    assert result.models["PaDiM"].note == "hand-made, 9 good images"
    assert result.models["zero"].metrics.image_auroc == 0.5
    assert result.models["seeing"].note == "made for square"
    assert {"Fitting PaDiM on square", "Scoring square with zero"} <= set(told)
    assert closed == []  # whoever gives a contestant for all categories closes it


def test_the_report_is_written_with_its_pictures(tiny_bundle: Path, data: Path, tmp_path: Path) -> None:
    request = EvalRequest(data, threads=1, report=tmp_path / "report", bootstrap=FEW)
    outcome = evaluate_bundle(open_bundle(tiny_bundle), request)
    assert outcome.report == tmp_path / "report" / "index.html"
    page = outcome.report.read_text(encoding="utf-8")
    assert "Evaluation of tiny" in page
    assert "8 of 8 defective parts rejected, 0 of 5 good parts rejected" in page
    assert "5 good, 8 defective" in page
    assert "student fp32 minus each other" in page
    assert "95 % bootstrap interval over images, 40 resamples" in page
    assert "No defective part passes." in page
    assert "No good part is rejected." in page
    assert page.count("<strong>Pixel ROC</strong>") == 1
    # two typical defects of either kind, all columns, and a good part, which has no truth
    assert len(list((tmp_path / "report").rglob("*.png"))) == 4 * 5 + 4


def test_maps_are_asked_for_in_parts_and_kept_in_order(data: Path) -> None:
    asked: list[int] = []

    def maps(images: Image) -> FloatMap:
        asked.append(len(images))
        return np.asarray(np.abs(images.astype(np.float32).mean(3) - 128), np.float32)

    (result,) = run([Contestant("grey", maps, peak)], data).classes
    assert asked == [8, 5]
    scores = result.models["grey"].scores
    assert scores[result.labels == 1].min() > 100
    assert scores[result.labels == 0].max() < 20
    assert result.kinds == ["black"] * 4 + ["good"] * 5 + ["white"] * 4
    assert result.names[0] == "black/0.png"


def test_figures_are_those_of_all_classes_and_the_first_model(data: Path) -> None:
    record = run([seeing(), blind()], data, first="blind").to_json()
    assert record["model"] == "blind"
    assert record["macro"] == record["models"]["blind"]["macro"]  # type: ignore[index]
    assert record["macro"] != record["models"]["seeing"]["macro"]  # type: ignore[index]
    assert run([seeing(), blind()], data).first == "seeing"


def test_several_categories_and_their_mean(three: Path) -> None:
    made: list[str] = []
    closed: list[str] = []

    def lineup(dataset: Dataset) -> list[Contestant]:
        # What was made for one category is gone before the next begins.
        assert closed == made
        made.append(dataset.name)
        own = seeing() if dataset.name != "nut" else replace(blind(), name="seeing")
        return [replace(own, close=lambda: closed.append(dataset.name), note=dataset.name), blind()]

    evaluation = evaluate(open_datasets(three), lineup, SIZE, bootstrap=FEW)
    assert made == closed == ["bolt", "nut", "ring"]
    assert [c.models["seeing"].note for c in evaluation.classes] == made
    record = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert list(record["classes"]) == made
    assert [record["classes"][name]["image_auroc"] for name in made] == [1, 0.5, 1]
    assert record["macro"]["image_auroc"] == pytest.approx(2.5 / 3)
    assert record["macro"]["images"] == 39
    # Two classes without spread and one that is always 0.5: so is their mean.
    assert record["models"]["seeing"]["intervals"]["macro"]["image_auroc"] == pytest.approx([2.5 / 3] * 2)
    assert record["lead"]["blind"]["macro"]["image_auroc"] == pytest.approx([1 / 3] * 3)
    assert record["lead"]["blind"]["classes"]["nut"]["image_auroc"] == [0, 0, 0]


def test_intervals_hold_the_figure_and_change_no_key(data: Path) -> None:
    noisy = Contestant(
        "noisy", lambda i: np.random.default_rng(len(i)).normal(0, 60, i.shape[:3]).astype(np.float32) + i[..., 0], peak
    )
    with_them = run([noisy, blind()], data, bootstrap=FEW).to_json()
    without = run([noisy, blind()], data).to_json()
    assert with_them.keys() - without.keys() == {"intervals", "lead", "bootstrap"}
    assert with_them["bootstrap"] == {"resamples": 40, "level": 0.95, "seed": 0}
    for key in ("classes", "macro", "model", "resolution"):
        assert with_them[key] == without[key]
    found = with_them["intervals"]["classes"]["square"]  # type: ignore[index]
    figures = with_them["classes"]["square"]  # type: ignore[index]
    assert found.keys() == METRICS - {"images"}
    for name, (low, high) in found.items():
        assert low - 0.02 <= figures[name] <= high + 0.02, name
        assert low < high, name
    assert run([noisy], data, bootstrap=FEW).to_json() == run([noisy], data, bootstrap=FEW).to_json()


def test_contestants_are_closed_when_one_fails(data: Path) -> None:
    closed: list[str] = []

    def fail(_: Image) -> FloatMap:
        raise DataError("no", mend="yes")

    both = [replace(c, close=lambda n=c.name: closed.append(n)) for c in (seeing(), Contestant("bad", fail, peak))]
    with pytest.raises(DataError, match="no"):
        run(both, data)
    assert closed == ["seeing", "bad"]


@pytest.mark.parametrize(
    ("contestants", "first", "message"),
    [
        ([seeing(), seeing()], None, "distinct names, got \\['seeing', 'seeing'\\]"),
        ([], None, "distinct names, got \\[\\]"),
        ([seeing()], "other", "no contestant is named 'other'. Choose from: seeing"),
    ],
)
def test_lineups_that_make_no_sense(contestants: list[Contestant], first: str | None, message: str, data: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(contestants, data, first=first)


def test_categories_must_have_the_same_models(three: Path) -> None:
    with pytest.raises(InputError, match=r"bolt was measured with .*'bolt'.* the next category with .*'nut'"):
        evaluate(open_datasets(three), lambda dataset: [seeing(dataset.name)], SIZE)


@pytest.mark.parametrize("keep_bytes", [0, 1 << 30])
def test_images_come_in_batches_again_and_again(keep_bytes: int, data: Path) -> None:
    paths = [sample.image for sample in open_dataset(data).test]
    batches = ImageBatches(paths, SIZE, keep_bytes=keep_bytes)
    assert len(batches) == 13
    sizes = [len(batch) for batch in batches]
    assert sizes == [BATCH, 5]
    whole = np.concatenate(list(batches))
    assert whole.shape == (13, SIZE, SIZE, 3)
    np.testing.assert_array_equal(batches.rows([12, 3]), whole[[12, 3]])
    np.testing.assert_array_equal(np.concatenate(list(ImageBatches(whole, SIZE))), whole)
    if keep_bytes == 0:
        assert batches._array is None


def test_no_test_images(tiny_bundle: Path, data: Path) -> None:
    with pytest.raises(DataError, match=r"has no labelled test images\. Evaluation needs test/good"):
        evaluate_bundle(open_bundle(tiny_bundle), EvalRequest(data / "train" / "good"))


def test_an_unknown_reference(tiny_bundle: Path, data: Path) -> None:
    with pytest.raises(InputError, match=r"unknown reference 'ganomaly'\. Choose from: padim, patchcore"):
        evaluate_bundle(open_bundle(tiny_bundle), EvalRequest(data, references=("padim", "ganomaly")))


def test_references_work_on_anybodys_features(tiny_bundle: Path) -> None:
    backbone = open_bundle(tiny_bundle).manifest.backbone.model_copy(update={"strides": [4, 8], "channels": [1, 2]})
    good = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3), dtype=np.uint8)

    def features(images: Image) -> FloatMap:
        return np.ascontiguousarray(images[:, ::4, ::4].transpose(0, 3, 1, 2) / 255, np.float32)

    made = reference_contestants(("patchcore", "padim"), features, backbone, 16, ImageBatches(good, 16))
    assert [one.name for one in made] == ["PaDiM", "PatchCore"]
    assert made[0].maps(good[:3]).shape == (3, 16, 16)
    assert made[1].maps(good[:3]).max() < 1e-2  # known patches
    assert reference_contestants((), features, backbone, 16, ImageBatches(good, 16)) == []


def test_a_lineup_without_features_has_no_references_and_is_closed(data: Path) -> None:
    closed: list[str] = []
    lineup = Lineup("mine", SIZE, lambda _: [seeing()], close=lambda: closed.append("mine"))
    with pytest.raises(InputError, match="references need features, and 'mine' has none"):
        evaluate_lineup(lineup, EvalRequest(data, references=("padim",)))
    assert closed == ["mine"]
    outcome = evaluate_lineup(lineup, EvalRequest(data, bootstrap=None))
    assert outcome.evaluation.first == "seeing"
    assert closed == ["mine", "mine"]


def test_what_explains_is_asked_before_the_lineup_is_closed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        "diffad_calibration.evaluation.lineup.publish",
        lambda folder, *_, explained, **__: told.append(f"published {explained}") or folder,
    )
    lineup = Lineup("mine", SIZE, lambda _: [seeing()], close=lambda: told.append("closed"))

    def explain(datasets: Sequence[Dataset], evaluation: Evaluation) -> str:
        told.append(f"explained {datasets[0].name} of {len(evaluation.classes)}")
        return "why"

    evaluate_lineup(lineup, EvalRequest(data, report=tmp_path, bootstrap=None), explain=explain)
    assert told == ["explained square of 1", "closed", "published why"]


def result_of(kinds: list[str]) -> ClassResult:
    labels = np.array([kind != "good" for kind in kinds], np.int64)
    return ClassResult("c", labels, kinds, [str(i) for i in range(len(kinds))])


KINDS = ["good"] * 5 + ["a"] * 5 + ["b"] * 5
SCORES = np.array([0.1, 0.9, 0.3, 0.2, 0.4, 5, 1, 3, 2, 4, 0.5, 9, 8, 7, 6])


def test_pictures_show_misses_and_false_alarms_worst_first_and_typical_parts_of_each_kind() -> None:
    choice = choose(result_of(KINDS), SCORES, 0.8, PictureCounts())
    assert choice.misses == [10]
    assert choice.alarms == [1]
    assert choice.typical[:2] == [7, 13]  # the median of a, of b
    assert choice.typical[-1] == 2  # the median good part
    assert len(choice.rows) == len(set(choice.rows))
    choice = choose(result_of(KINDS), SCORES, 2.5, PictureCounts(worst=2))
    assert (choice.misses, choice.alarms) == ([10, 6], [])


def test_without_a_threshold_the_closest_calls_are_shown() -> None:
    choice = choose(result_of(KINDS), SCORES, None, PictureCounts(worst=2))
    assert (choice.misses, choice.alarms) == ([10, 6], [1, 4])


def test_pictures_are_limited_and_keep_a_good_one() -> None:
    kinds = [f"kind{i}" for i in range(9) for _ in range(3)] + ["good"] * 4
    choice = choose(result_of(kinds), np.arange(31.0), 100.0, PictureCounts(typical=10, worst=0))
    assert len(choice.typical) == 10
    assert [kinds[row] for row in choice.typical].count("good") == 1
    assert {kinds[row] for row in choice.typical[:9]} == {f"kind{i}" for i in range(9)}
    alone = choose(result_of(["a", "a"]), np.array([1.0, 2.0]), 0.0, PictureCounts())
    assert sorted(alone.rows) == [0, 1]
    nothing = choose(result_of(kinds), np.arange(31.0), None, PictureCounts(typical=0, worst=0))
    assert nothing.rows == []


def test_an_example_holds_what_the_engine_said(tiny_bundle: Path, data: Path) -> None:
    shown = BundleContestant(open_bundle(tiny_bundle), "fp32", threads=1)
    (result,) = run([shown.contestant()], data, pictures=PictureCounts()).classes
    shown.close()
    examples = {example.name: example for example in result.pictures.typical}
    assert {(e.kind, e.verdict) for e in examples.values()} == {("white", "NG"), ("black", "NG"), ("good", "OK")}
    for name, example in examples.items():
        row = result.names.index(name)
        assert example.score == result.models["student fp32"].scores[row]
        assert example.fused.shape == (SIZE, SIZE)
        assert example.pixel.shape == example.feature.shape == (16, 16)
        if example.truth is None:
            assert example.kind == "good"
            assert example.mask.max() == 0
        else:
            assert example.mask[example.truth > 0].mean() > 250


def test_a_contestant_of_another_room_is_shown_by_its_own_parts(data: Path) -> None:
    def parts(image: Image) -> Parts:
        fused = np.abs(image.astype(np.float32).mean(2) - 128)
        return Parts(fused[::2, ::2], fused[::4, ::4], fused)

    # 30 lies between grey and its defects; the image threshold rejects everything: all good parts are false alarms.
    guest = replace(seeing(), threshold=0.5, display=Display(parts, 30.0))
    (result,) = run([guest, blind()], data, pictures=PictureCounts(typical=2, worst=3)).classes
    alarms = result.pictures.alarms
    assert [example.kind for example in alarms] == ["good"] * 3
    assert [example.score for example in alarms] == sorted((example.score for example in alarms), reverse=True)
    assert alarms[0].remark == "rank 1 of 5 good parts from the highest; 0 of 8 defective parts score lower"
    assert alarms[0].pixel.shape == (32, 32)
    assert alarms[0].mask.max() == 0
    assert result.pictures.misses == []
    assert len(result.pictures.typical) == 2
    assert run([blind()], data, pictures=PictureCounts()).classes[0].pictures.typical == []
