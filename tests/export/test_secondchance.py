"""Every variant in one bundle; what is refused, and how few layers are kept out of INT8 before a gate lets it pass."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from diffad_calibration import oracle
from diffad_calibration.bundlelint import lint_bundle
from diffad_calibration.dataset import open_dataset
from diffad_calibration.precision.coverage import int8_coverage
from diffad_calibration.precision.sensitivity import LayerEffect
from diffad_calibration.precision.variantrecord import MEMBER, CalibrationRecord
from diffad_calibration.precision.variants import FORMS, Graphs, rebuild
from diffad_export import secondchance
from diffad_export.exportoptions import ExportOptions
from diffad_export.gates import check_graphs
from diffad_export.judging import Judged, judge, labelled_set
from diffad_export.pasted import PastedSet
from diffad_export.recipe import ExportSummary, export
from diffad_export.runfolder import open_run
from diffad_export.secondchance import Chances, certified, effects_of, relieve
from diffad_export.split import Split
from diffad_export.student_model import StudentModel, make_student
from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.errors import DataError, GateError
from diffad_runtime.selfcheck import check_variants

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Parts:
    """A student and what its INT8 variants say."""

    student: StudentModel
    split: Split
    judged: Judged
    pasted: PastedSet


@pytest.fixture(scope="module")
def parts(tiny_run: Path, line_data: Path, tiny_options: ExportOptions) -> Parts:
    run = open_run(tiny_run)
    split = run.split(open_dataset(line_data))
    student = make_student(run, split, tiny_options.distil, tiny_options.score, CPU)
    judged = judge(student, split, ["fp32", "int8"], tiny_options, seed=0)
    return Parts(student, split, judged, student.pasted)


@pytest.fixture(scope="module")
def full(
    tiny_run: Path, line_data: Path, tiny_options: ExportOptions, tmp_path_factory: pytest.TempPathFactory
) -> ExportSummary:
    """All five variants, judged on labelled data."""
    options = replace(tiny_options, precisions=tuple(FORMS), labelled=line_data)
    return export(tiny_run, line_data, tmp_path_factory.mktemp("full") / "line.diffad", options)


@pytest.fixture(scope="module")
def bundle(full: ExportSummary) -> Bundle:
    return open_bundle(full.bundle)


def test_all_variants_are_in_the_bundle_and_judge_alike_here(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.variants == FORMS
    assert manifest.default_variant == "int8"
    checks = check_variants(bundle, "onnxruntime", list(FORMS))
    assert [(one.variant, one.status, one.against) for one in checks] == [(name, "passed", "maps") for name in FORMS]


@pytest.mark.skipif(not oracle.available(), reason="the package tensorrt-rtx-cu12 is not installed")
def test_the_real_parser_and_builder_take_what_tensorrt_may_be_given(bundle: Bundle) -> None:
    names = [name for name, form in FORMS.items() if form.target in {"any", "tensorrt"}]
    reports = oracle.report_bundle(bundle, names)
    for name, graphs in reports.items():
        for graph, report in graphs.items():
            marked = FORMS[name].target == "tensorrt"
            assert (report.marked > 0) == marked, (name, graph)
            assert report.share >= (0.95 if marked else 0), (name, graph, report.missed)
    assert reports["int8-trt"]["reconstructor"].marked == 23  # every convolution of the student


def test_each_variant_can_be_made_again_without_an_image(bundle: Bundle) -> None:
    record = CalibrationRecord.of_bytes(bundle.read(MEMBER))
    assert list(record.variants) == list(FORMS)
    fp32 = Graphs(*bundle.graphs("fp32"))
    for name in FORMS:
        made = rebuild(fp32, record, name)
        assert (made.extractor, made.reconstructor) == bundle.graphs(name), name


def test_the_record_says_what_accuracy_was_judged_on(bundle: Bundle, full: ExportSummary) -> None:
    parity = bundle.parity()
    assert parity == full.parity
    assert parity["aupro_judged_on"] == "labelled data"
    assert parity["variants"].keys() == FORMS.keys()
    assert parity["variants"]["fp32"]["aupro_30"] == pytest.approx(parity["aupro_30"], abs=1e-4)
    assert parity["variants"]["fp16"]["map_mean"] < parity["variants"]["int8"]["map_mean"]


def test_labelled_data_of_one_kind_only_cannot_judge(line_data: Path, tmp_path: Path) -> None:
    (tmp_path / "line" / "train").mkdir(parents=True)
    (tmp_path / "line" / "train" / "good").symlink_to(line_data / "train" / "good")
    (tmp_path / "line" / "test").mkdir()
    (tmp_path / "line" / "test" / "good").symlink_to(line_data / "test" / "good")
    with pytest.raises(DataError, match="6 good and 0 defective test images, expected some of both"):
        labelled_set(tmp_path / "line", 64)


def times(model: bytes, factor: float, weight: str) -> bytes:
    """The graph with one weight tensor, or its scale, multiplied."""
    proto = onnx.load_from_string(model)
    found = next(t for t in proto.graph.initializer if t.name in {weight, f"{weight}_scale"} and t.data_type in {1, 10})
    values = numpy_helper.to_array(found)
    found.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), found.name))
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("name", [name for name in FORMS if name != "fp32"])
@pytest.mark.parametrize(
    "weight", ["model.denoiser.trunks.0.first.conv.weight", "model.denoiser.trunks.0.up0.1.conv.weight"]
)
def test_a_weight_tensor_that_is_not_fp32s_is_named(bundle: Bundle, name: str, weight: str) -> None:
    graphs = {one: Graphs(*bundle.graphs(one)) for one in ("fp32", name)}
    check_graphs(graphs)
    spoiled = replace(graphs[name], reconstructor=times(graphs[name].reconstructor, 1.2, weight))
    with pytest.raises(GateError, match=rf"{name} reconstructor: weights: {weight}: .* 1\.2 times"):
        check_graphs(graphs | {name: spoiled})
    check_graphs(graphs | {name: spoiled}, tuned=[name])  # such a variant is judged by its answers alone


@pytest.fixture(scope="module")
def effects(parts: Parts) -> list[LayerEffect]:
    return effects_of(parts.judged, "int8", parts.pasted)


def test_verify_takes_tuned_weights_where_the_record_says_so(bundle: Bundle, tmp_path: Path) -> None:
    form = FORMS["int8"]
    weight = "model.denoiser.trunks.0.first.conv.weight"
    for tuned in (False, True):
        members = {name: bundle.read(name) for name in bundle.manifest.members}
        members[form.reconstructor] = times(members[form.reconstructor], 1.2, weight)
        record = CalibrationRecord.of_bytes(members[MEMBER])
        record.variants["int8"].tuned = tuned
        members[MEMBER] = record.to_bytes()
        manifest = bundle.manifest.model_copy(update={"members": describe_members(members)})
        other = open_bundle(write_bundle(tmp_path / "other.diffad", manifest, members))
        found = [finding.where for one in lint_bundle(other) for finding in one.findings]
        assert found == ([] if tuned else [weight])


def wants(count: int) -> Callable[[Judged, list[str]], Any]:
    """A gate that lets pass what has so many float convolutions."""

    def held(judged: Judged, only: list[str]) -> None:
        record = judged.built.records[only[0]]
        if sum(len(graph.keep_float) for graph in record.graphs.values()) < count:
            raise GateError("too noisy", mend="Keep more")

    return held


@pytest.mark.parametrize("count", [1, 3])
def test_as_few_layers_as_pass_are_kept_and_they_are_the_worst(
    parts: Parts, effects: list[LayerEffect], count: int
) -> None:
    chances = Chances(layers={"int8": effects})
    found = relieve(parts.judged, "int8", parts.pasted, wants(count), chances)
    assert found is not None
    assert [one.map_noise for one in effects] == sorted((one.map_noise for one in effects), reverse=True)
    worst = {(one.graph, one.node) for one in effects[:count]}
    kept = {(graph, node) for graph, nodes in chances.kept["int8"].items() for node in nodes}
    assert kept == worst
    graphs = found.built.graphs["int8"]
    floats = [*int8_coverage(graphs.extractor).float_conv, *int8_coverage(graphs.reconstructor).float_conv]
    before = parts.judged.built.graphs["int8"]
    already = [*int8_coverage(before.extractor).float_conv, *int8_coverage(before.reconstructor).float_conv]
    assert len(floats) == len(already) + count
    assert found.answers["int8"] is not parts.judged.answers["int8"]
    assert found.answers["fp32"] is parts.judged.answers["fp32"]


def noise(judged: Judged) -> float:
    pairs = zip(judged.reference, judged.answers["int8"], strict=True)
    return float(np.mean([np.square(a.map - b.map).mean() for a, b in pairs]))


def test_more_than_a_share_of_the_layers_is_no_int8(
    parts: Parts, effects: list[LayerEffect], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secondchance, "MOST_KEPT", 2 / len(effects))
    chances, asked = Chances(layers={"int8": effects}), list[Judged]()

    def never(judged: Judged, only: list[str]) -> None:
        asked.append(judged)
        wants(1000)(judged, only)

    assert relieve(parts.judged, "int8", parts.pasted, never, chances) is None
    assert chances.kept == {}
    assert len(asked) == 2
    assert noise(asked[-1]) < 0.9 * noise(parts.judged)  # of two layers that rounding hurts most


def test_a_refused_variant_gets_its_chance_and_provenance_tells(
    parts: Parts, tiny_options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = secondchance.certify

    def certify(reference: Any, variants: Any, *rest: Any, **named: Any) -> Any:
        record = real(reference, variants, *rest, **named)
        if "int8" in variants and variants["int8"] is parts.judged.answers["int8"]:
            raise GateError("int8 parity: too far", mend="Keep more")
        return record

    monkeypatch.setattr(secondchance, "certify", certify)
    names = ["fp32", "int8"]
    only = replace(
        parts.judged, built=replace(parts.judged.built, graphs={n: parts.judged.built.graphs[n] for n in names})
    )
    options = replace(tiny_options, finish="off")
    found, parity, chances = certified(only, parts.student, parts.split, names, options, CPU, seed=0)
    told = chances.to_json()
    assert told["refused_at_first"] == {"int8": "int8 parity: too far. Keep more."}
    assert sum(len(nodes) for nodes in told["kept_out_of_int8"]["int8"].values()) == 1
    assert {"graph", "node", "weight", "sqnr_db", "map_noise", "aupro_drop"} == told["layers"]["int8"][0].keys()
    assert parity["variants"].keys() == set(names)
    assert found.built.records["int8"].graphs["extractor"].ranges
    with pytest.raises(GateError, match="too far"):
        certified(only, parts.student, parts.split, names, replace(options, fallback=False), CPU, seed=0)
