"""`export` end to end on the tiny run: what the bundle says and holds, and what is refused before or after the work."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from diffad_calibration.dataset import open_dataset
from diffad_calibration.precision.variants import Graphs
from diffad_export.config import DistilConfig
from diffad_export.exportoptions import ExportOptions
from diffad_export.gates import certify, pick_golden
from diffad_export.judging import calibration_images
from diffad_export.pasted import paste_set
from diffad_export.recipe import ExportSummary, export
from diffad_export.reconstructor import levels_of
from diffad_export.runfolder import open_run
from diffad_export.variants import engine_maps, outcomes
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import DataError, GateError, InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import Verdict


def test_the_manifest_tells_how_the_model_was_made(tiny_export: ExportSummary, line_data: Path) -> None:
    bundle = open_bundle(tiny_export.bundle)
    manifest = bundle.manifest
    assert (manifest.model_id, manifest.version, manifest.input_size, manifest.grid) == ("line-64", 1, 64, 16)
    assert (manifest.backbone.strides, sum(manifest.backbone.channels)) == ([2, 4, 8, 16], 192)
    assert (manifest.reconstruction.steps, manifest.reconstruction.levels) == (1, [201])
    assert manifest.reconstruction.alpha == tiny_export.alpha == 0
    assert manifest.default_variant == "int8"
    assert manifest.variants.keys() == {"fp32", "int8"}
    assert manifest.thresholds.good_images == 8
    assert manifest.provenance["data"]["categories"][0]["good_images"] == 40
    assert manifest.provenance["distil"]["width"] == 16
    assert manifest.provenance["train"]["teacher"]["widths"] == [32, 64]
    assert "torch" in manifest.provenance["versions"]
    assert str(line_data.parent) not in manifest.model_dump_json()
    assert bundle.digest == tiny_export.digest
    assert tiny_export.to_json()["thresholds"]["image"] == manifest.thresholds.image
    json.dumps(tiny_export.to_json(), allow_nan=False)


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_golden_frames_are_judged_as_recorded(tiny_export: ExportSummary, variant: str) -> None:
    frames = open_bundle(tiny_export.bundle).golden()
    assert {frame.record["label"] for frame in frames} == {"good", "pasted defect"}
    with Inspector.open(tiny_export.bundle, variant=variant, threads=1) as inspector:
        for frame in frames:
            result = inspector.inspect(frame.image)
            assert result.verdict is Verdict(frame.record["verdict"])
            if variant == "fp32":
                assert result.score == pytest.approx(frame.record["score"], abs=1e-4)
                assert result.anomaly_map.mean() == pytest.approx(frame.record["map_mean"], abs=1e-4)
                assert result.anomaly_map.max() == pytest.approx(frame.record["map_max"], abs=1e-3)


def test_the_parity_record_is_in_the_bundle(tiny_export: ExportSummary) -> None:
    record = json.loads(open_bundle(tiny_export.bundle).read("parity.json"))
    assert record == json.loads(json.dumps(tiny_export.parity))
    assert record["variants"]["fp32"]["map_max"] < 1e-3
    assert record["variants"]["int8"]["map_mean"] < 0.25
    assert all(variant["golden_flips"] == 0 for variant in record["variants"].values())


def test_held_back_good_images_pass_their_own_threshold(
    tiny_export: ExportSummary, tiny_run: Path, line_data: Path
) -> None:
    run = open_run(tiny_run)
    held = run.split(open_dataset(line_data)).held
    with Inspector.open(tiny_export.bundle, variant="fp32", threads=1) as inspector:
        assert sum(inspector.inspect(image).verdict is Verdict.NG for image in held) <= 1  # 0.2 of 8


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the run with its finished student, for what writes into it."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_a_second_export_takes_up_the_student_and_counts_on(
    tiny_export: ExportSummary, own_run: Path, line_data: Path, tiny_options: ExportOptions, tmp_path: Path
) -> None:
    out = Path(shutil.copy(tiny_export.bundle, tmp_path / "again.diffad"))
    students = sorted(path.name for path in own_run.glob("student-*"))
    log = next(own_run.glob("student-*/student-log.jsonl"))
    written = log.stat().st_mtime_ns
    options = replace(tiny_options, precisions=("fp32",))
    summary = export(own_run, line_data, out, options)
    manifest = open_bundle(out).manifest
    assert manifest.version == 2
    assert (list(manifest.variants), manifest.default_variant) == (["fp32"], "fp32")
    assert summary.thresholds == tiny_export.thresholds
    assert sorted(path.name for path in own_run.glob("student-*")) == students
    assert log.stat().st_mtime_ns == written
    graphs = [open_bundle(path).graphs("fp32") for path in (out, tiny_export.bundle)]
    assert graphs[0] == graphs[1]  # the same student gives the same bytes


def test_two_levels_of_two_draws_each_are_packed(
    own_run: Path, line_data: Path, tiny_options: ExportOptions, tmp_path: Path
) -> None:
    update = {"steps": 2, "chain_steps": None, "width": 8, "shared": True, "draws": 1, "losses": {"teacher": 1}}
    distil = DistilConfig.model_validate(tiny_options.distil.model_dump() | update)
    score = tiny_options.score.model_copy(update={"draws": 2})
    options = replace(tiny_options, distil=distil, score=score, precisions=("fp32",))
    bundle = open_bundle(export(own_run, line_data, tmp_path / "m.diffad", options).bundle)
    reconstruction, provenance = bundle.manifest.reconstruction, bundle.manifest.provenance
    assert (reconstruction.steps, len(reconstruction.levels)) == (4, 2)
    chosen = provenance["distil"]["chain_steps"]
    assert reconstruction.levels == [level.timestep for level in levels_of(tuple(chosen))]
    assert chosen == sorted(chosen)
    assert provenance["distil"]["shared"] is True
    # Both draws of both levels are evaluated: each a trunk, and two heads on each of three grids.
    graph = onnx.load_from_string(bundle.graphs("fp32")[1]).graph
    assert sum(node.op_type == "Conv" for node in graph.node) == 4 * (17 + 6)
    record = json.loads(bundle.read("parity.json"))
    assert record["variants"]["fp32"]["map_max"] < 1e-3


def test_a_gate_that_is_not_met_leaves_nothing_behind(
    own_run: Path, line_data: Path, tiny_options: ExportOptions, tmp_path: Path
) -> None:
    out = tmp_path / "model.diffad"
    impossible = replace(tiny_options, precisions=("fp32",), max_aupro_drop=-1.0)
    with pytest.raises(GateError, match=r"fp32: AUPRO@0\.3 on pasted defects is .* a drop of at most -1 is allowed"):
        export(own_run, line_data, out, impossible)
    assert [path for path in tmp_path.iterdir() if path != own_run] == []


def scaled(model: bytes, factor: float) -> bytes:
    """The graph with its largest weight tensor multiplied."""
    proto = onnx.load_from_string(model)
    largest = max(
        (t for t in proto.graph.initializer if len(t.dims) == 4 and t.dims[1] > 3),
        key=lambda t: int(np.prod(t.dims)),
    )
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) * np.float32(factor), largest.name))
    return bytes(proto.SerializeToString())


def test_a_graph_with_one_wrong_weight_tensor_is_refused(
    tiny_export: ExportSummary, tiny_run: Path, line_data: Path
) -> None:
    bundle, run = open_bundle(tiny_export.bundle), open_run(tiny_run)
    how, threshold = bundle.manifest.image_score, bundle.manifest.thresholds.image
    pasted = paste_set(run.split(open_dataset(line_data)).held, seed=0)
    extractor, reconstructor = bundle.graphs("fp32")

    def judge(factor: float) -> list:  # type: ignore[type-arg]
        graphs = Graphs(extractor, scaled(reconstructor, factor))
        return outcomes(engine_maps(graphs, "fp32", pasted.images), how, threshold)

    reference = judge(1.0)
    golden = pick_golden(reference, pasted.labels, threshold)
    certify(reference, {"fp32": judge(1.0)}, pasted, golden, max_aupro_drop=0.0)
    with pytest.raises(GateError, match=r"fp32 parity: map_max of frame \d+ differs by"):
        certify(reference, {"fp32": judge(1.2)}, pasted, golden, max_aupro_drop=1.0)


def test_unknown_precision(tiny_run: Path, line_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown precision 'int4'\. Choose from: fp32, fp16, int8, int8-t"):
        export(tiny_run, line_data, tmp_path / "m.diffad", ExportOptions(precisions=("int4",)))


def test_missing_run(line_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run folder .*nowhere\. Run 'diffad-edge train"):
        export(tmp_path / "nowhere", line_data, tmp_path / "m.diffad", ExportOptions())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no config\.json in .*empty"):
        export(tmp_path / "empty", line_data, tmp_path / "m.diffad", ExportOptions())


def test_other_images_than_those_of_the_training(tiny_run: Path, line_data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(line_data / "train" / "good", other)
    path = other / "0003.png"
    image = cv2.imread(str(path))
    assert image is not None
    image[:9, :9] = 255 - image[:9, :9]  # pixels, not names
    cv2.imwrite(str(path), image)
    with pytest.raises(DataError, match=r"the 40 good images of line differ from those that .* was trained on"):
        export(tiny_run, other, tmp_path / "m.diffad", ExportOptions())


def test_int8_ranges_see_defects_that_no_held_back_image_knows(tiny_run: Path, line_data: Path) -> None:
    split = open_run(tiny_run).split(open_dataset(line_data))
    images = calibration_images(split.train, seed=0)
    count = min(64, len(split.train))
    assert len(images) == count
    untouched = [np.array_equal(a, b) for a, b in zip(images, split.train, strict=False)]
    assert untouched == [True] * (count - count // 2) + [False] * (count // 2)
    golden = paste_set(split.held, seed=0).images
    assert not any(np.array_equal(a, b) for a in images for b in golden)
