"""Variants of one bundle beside each other: figures, decisions that flip, size; named ones, also those for TensorRT."""

import json
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation import EvalRequest, bundle_lineup, evaluate_bundle
from diffad_calibration.profile import profile_bundle
from diffad_calibration.report import Category, ReportData, write_report
from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.errors import InputError

SIZE = 64
NAMES = ("fp32", "fp16", "int8", "int8-trt")
LOW = "graphs/reconstructor.low.onnx"


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The hand-made graphs, called int8 where their map is 0.15 times as high: defects of 10 fall below 2."""
    tiny = open_bundle(tiny_bundle)
    exact = tiny.manifest.variants["fp32"]
    model = onnx.load_from_string(tiny.read(exact.reconstructor))
    for initializer in model.graph.initializer:
        if initializer.name == "ten":
            initializer.CopyFrom(numpy_helper.from_array(np.array(1.5, np.float32), "ten"))
    members = {name: tiny.read(name) for name in {exact.extractor, exact.reconstructor}}
    members[LOW] = model.SerializeToString()
    low = exact.model_copy(update={"precision": "int8", "target": "cpu", "reconstructor": LOW})
    variants = {
        "fp32": exact,
        "fp16": exact.model_copy(update={"precision": "fp16"}),
        "int8": low,
        "int8-trt": low.model_copy(update={"target": "tensorrt"}),
    }
    manifest = tiny.manifest.model_copy(
        update={"variants": variants, "default_variant": "int8", "members": describe_members(members)}
    )
    return open_bundle(write_bundle(tmp_path_factory.mktemp("bundle") / "m.diffad", manifest, members))


def write_category(root: Path, defective: int) -> None:
    for place, count in (("ground_truth/white", 0), ("train/good", 1), ("test/good", 3), ("test/white", defective)):
        (root / place).mkdir(parents=True)
        for number in range(count):
            image = np.full((SIZE, SIZE, 3), 128, np.uint8)
            if place == "test/white":
                image[16:32, 8:24] = 255
                mask = np.zeros((SIZE, SIZE), np.uint8)
                mask[16:32, 8:24] = 255
                cv2.imwrite(str(root / "ground_truth/white" / f"{number}_mask.png"), mask)
            cv2.imwrite(str(root / place / f"{number}.png"), image)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two categories with 4 and 2 defective images."""
    folder = tmp_path_factory.mktemp("two")
    for name, defective in (("bolt", 4), ("nut", 2)):
        write_category(folder / name, defective)
    return folder


def test_named_variants_are_measured_in_their_order_those_for_tensorrt_too(bundle: Bundle, data: Path) -> None:
    outcome = evaluate_bundle(bundle, EvalRequest(data, variants=NAMES, threads=1, bootstrap=None))
    record = json.loads(json.dumps(outcome.evaluation.to_json(), allow_nan=False))
    assert list(record["models"]) == [f"student {name}" for name in NAMES]
    assert record["model"] == "student fp32"
    assert "graphs_mb" not in record
    flips = {name: model["decision_flips"] for name, model in record["models"].items()}
    assert flips["student fp32"] == {"against": "student fp32", "classes": {"bolt": 0, "nut": 0}, "all": 0}
    assert flips["student fp16"]["all"] == 0
    assert flips["student int8"] == {"against": "student fp32", "classes": {"bolt": 4, "nut": 2}, "all": 6}
    assert flips["student int8-trt"] == flips["student int8"]
    # Ranking does not change with the height of the map: only decisions do.
    assert record["models"]["student int8"]["macro"]["image_auroc"] == 1
    sizes = {name: len(bundle.read(name)) for name in bundle.manifest.members}
    exact = bundle.manifest.variants["fp32"]
    assert record["models"]["student fp32"]["graphs_mb"] == (sizes[exact.extractor] + sizes[exact.reconstructor]) / 1e6
    assert record["models"]["student int8"]["graphs_mb"] == (sizes[exact.extractor] + sizes[LOW]) / 1e6
    (bolt, _) = outcome.evaluation.classes
    assert bolt.models["student int8-trt"].note == "1 evaluation, onnxruntime, made for TensorRT"
    assert bolt.models["student int8"].note == "1 evaluation, onnxruntime"


def test_unnamed_are_those_that_suit_the_backend(bundle: Bundle) -> None:
    lineup = bundle_lineup(bundle, threads=1)
    dataset = Dataset(bundle.path, "parts", [], [], "plain")
    assert [one.name for one in lineup.contestants(dataset)] == ["student int8", "student fp32"]
    lineup.close()


def test_flips_are_unknown_without_fp32(bundle: Bundle, data: Path) -> None:
    request = EvalRequest(data / "bolt", variants=("int8", "fp16"), threads=1, bootstrap=None)
    evaluation = evaluate_bundle(bundle, request).evaluation
    assert evaluation.first == "student int8"
    assert evaluation.flips("student fp16") is None
    assert evaluation.to_json()["models"]["student fp16"]["decision_flips"] == {  # type: ignore[index]
        "against": None,
        "classes": {"bolt": None},
        "all": None,
    }


def test_names_that_cannot_be_measured(bundle: Bundle, data: Path) -> None:
    with pytest.raises(InputError, match=r"no variant 'int9'"):
        evaluate_bundle(bundle, EvalRequest(data, variants=("fp32", "int9")))
    with pytest.raises(InputError, match=r"expected different variants, got fp32, fp32\. Name each once"):
        evaluate_bundle(bundle, EvalRequest(data, variants=("fp32", "fp32")))


def reported(
    bundle: Bundle, data: Path, variants: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> ReportData:
    """What an evaluation gives to the page, before anything is drawn."""
    given: list[ReportData] = []
    module = import_module("diffad_calibration.evaluation.publish")  # the package has a function of that name
    monkeypatch.setattr(module, "write_report", lambda where, data: given.append(data) or where)
    evaluate_bundle(bundle, EvalRequest(data, variants=variants, report=folder, threads=1, bootstrap=None))
    return given[0]


def test_the_report_shows_them_beside_each_other(
    bundle: Bundle, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reported(bundle, data, ("fp32",), tmp_path, monkeypatch).variants == []
    found = reported(bundle, data, NAMES, tmp_path, monkeypatch)
    assert [(row.model, row.flips, row.images) for row in found.variants] == [
        ("student fp32", 0, 12),
        ("student fp16", 0, 12),
        ("student int8", 6, 12),
        ("student int8-trt", 6, 12),
    ]
    bare = [Category(one.name, one.table) for one in found.categories]
    shown = ReportData("Variants", macro=found.macro, categories=bare, variants=found.variants)
    page = write_report(tmp_path / "report", shown).read_text(encoding="utf-8")
    table = page[page.index("<caption>Variants, mean of the categories") :]
    table = table[: table.index("</div>")]
    assert "<td>1.0000</td>" in table
    assert (table.count("<td>0 of 12</td>"), table.count("<td>6 of 12</td>")) == (2, 2)
    assert "the verdict is another than that of student fp32" in table
    assert f"<td>{found.variants[0].graphs_mb:.1f}</td>" in table


def test_a_named_variant_for_tensorrt_can_be_profiled(bundle: Bundle) -> None:
    shapes = ((1, 8, 4),)
    assert list(profile_bundle(bundle, ["int8-trt"], 1, threads=1, shapes=shapes).variants) == ["int8-trt"]
    assert "int8-trt" not in profile_bundle(bundle, None, 1, threads=1, shapes=shapes).variants
