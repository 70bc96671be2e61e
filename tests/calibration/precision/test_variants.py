"""Every variant from one pass, made again from the record byte for byte, and run by the engine that ships."""

from typing import Any

import numpy as np
import onnxruntime
import pytest

from diffad_calibration.lint import compare_weights, lint
from diffad_calibration.precision import biascorrection, variants
from diffad_calibration.precision.coverage import int8_coverage
from diffad_calibration.precision.variantrecord import CalibrationRecord, GraphRecord
from diffad_calibration.precision.variants import ESTIMATOR, FORMS, GRAPHS, RECIPES, Calibrator, Graphs, Made, rebuild
from diffad_runtime.engines.onnxruntime import session_options
from diffad_runtime.errors import BundleError, DataError, GateError, InputError

# Largest difference to the map of FP32, in standard deviations of these maps.
TOLERANCES = {"fp32": 0.0, "fp16": 0.01, "int8": 0.3, "int8-trt": 0.3, "int8-fp16-trt": 0.3}


@pytest.fixture(scope="module")
def made(calibrator: Calibrator) -> dict[str, Made]:
    return {name: calibrator.make(name) for name in FORMS}


@pytest.fixture(scope="module")
def record(calibrator: Calibrator, made: dict[str, Made]) -> CalibrationRecord:
    written = calibrator.record({name: one.record for name, one in made.items()}).to_bytes()
    return CalibrationRecord.of_bytes(written)


def maps(graphs: Graphs, name: str, frames: np.ndarray) -> np.ndarray:
    with graphs.engine(name, frames.shape[1], threads=1) as engine:
        return np.stack([engine.infer(frame).anomaly.copy() for frame in frames])


def test_names_precisions_and_members() -> None:
    found = {name: (form.precision, form.target) for name, form in FORMS.items()}
    assert found == {
        "fp32": ("fp32", "any"),
        "fp16": ("fp16", "any"),
        "int8": ("int8", "cpu"),
        "int8-trt": ("int8", "tensorrt"),
        "int8-fp16-trt": ("int8-fp16", "tensorrt"),
    }
    assert FORMS["int8"].extractor == "graphs/extractor.int8-cpu.onnx"
    assert FORMS["int8-fp16-trt"].reconstructor == "graphs/reconstructor.int8-fp16-trt.onnx"
    assert RECIPES.keys() == {name for name, form in FORMS.items() if form.precision.startswith("int8")}


@pytest.mark.parametrize("name", FORMS)
def test_each_variant_is_clean_and_answers_like_fp32(
    name: str, made: dict[str, Made], pair: Graphs, frames: np.ndarray
) -> None:
    graphs = made[name].graphs
    for graph in GRAPHS:
        assert lint(graphs[graph], FORMS[name].target) == []
        assert compare_weights(pair[graph], graphs[graph]) == []
    expected, found = maps(pair, "fp32", frames), maps(graphs, name, frames)
    error = float(np.abs(found - expected).max() / expected.std())
    assert error <= TOLERANCES[name], f"{error} standard deviations"
    assert (error > 1e-4) is (name != "fp32")


@pytest.mark.parametrize("name", ["fp16", "int8-trt", "int8-fp16-trt"])
def test_the_engine_computes_what_the_graph_says(name: str, made: dict[str, Made], frames: np.ndarray) -> None:
    """Optimised as it ships, against every optimisation off."""
    graphs, found = made[name].graphs, []
    options = session_options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    sessions = [onnxruntime.InferenceSession(graphs[graph], options, ["CPUExecutionProvider"]) for graph in GRAPHS]
    for frame in frames:
        x, f = sessions[0].run(["x", "f"], {"image": frame[None]})
        found.append(sessions[1].run(["anomaly_map"], {"x": x, "f": f})[0][0])
    expected = np.stack(found)
    error = np.abs(maps(graphs, name, frames) - expected).max() / expected.std()
    assert error < 2**-10, f"{error} standard deviations"


def test_rebuilt_without_an_image_byte_for_byte(
    made: dict[str, Made], record: CalibrationRecord, pair: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("rebuilding must not run a graph on frames")

    for place, name in ((variants, "Collector"), (variants, "bias_shifts"), (biascorrection, "channel_means")):
        monkeypatch.setattr(place, name, never)
    for name in FORMS:
        assert rebuild(pair, record, name) == made[name].graphs, name


def test_kept_nodes_and_biases_come_back_too(calibrator: Calibrator, pair: Graphs) -> None:
    keep = {"extractor": ("node_second",), "reconstructor": ("node_mix", "node_mean")}
    for name in ("int8", "int8-fp16-trt"):
        one, plain = (calibrator.make(name, keep_float=keep, correct_bias=correct) for correct in (True, False))
        assert one.graphs != plain.graphs
        for made in (one, plain):
            written = calibrator.record({"changed": made.record}).to_bytes()
            # A bundle may call it as it likes: the record says what it was made by.
            assert rebuild(pair, CalibrationRecord.of_bytes(written), "changed") == made.graphs
    assert {graph: tuple(one.record.graphs[graph].keep_float) for graph in GRAPHS} == keep
    assert one.record.graphs["reconstructor"].shifts().keys() == {"node_stem", "node_down", "node_merge"}


def test_what_the_record_holds(record: CalibrationRecord, made: dict[str, Made], frames: np.ndarray) -> None:
    assert (record.frames, record.estimator) == (len(frames), ESTIMATOR)
    low, high = record.extremes["extractor"]["x"]
    assert (low, high) == pytest.approx((frames.min() / 127.5 - 1, frames.max() / 127.5 - 1), abs=1e-6)
    assert record.extremes["reconstructor"]["x"] == (low, high)  # what the first graph says is what the second reads
    for name, variant in record.variants.items():
        assert variant == made[name].record
        assert variant.recipe == name
        rounded = name in RECIPES
        for graph in variant.graphs.values():
            assert (bool(graph.ranges), bool(graph.bias_shifts), graph.keep_float) == (rounded, rounded, [])
    # FP16 beside INT8 moves no mean: measured once for both.
    shifts = [record.variants[name].graphs["extractor"].bias_shifts for name in RECIPES]
    assert shifts[1] == shifts[2] != shifts[0]


def test_the_estimator_is_asked(calibrator: Calibrator, pair: Graphs, frames: np.ndarray) -> None:
    other = Calibrator.watch(pair, frames[:2], estimator="mse")
    assert other.record({}).estimator == "mse"
    made = other.make("int8-trt", correct_bias=False)
    kept = made.record.graphs["reconstructor"]
    assert kept.ranges != calibrator.make("int8-trt", correct_bias=False).record.graphs["reconstructor"].ranges
    assert kept.bias_shifts == {}
    with pytest.raises(DataError, match="unknown range estimator 'median'"):
        Calibrator.watch(pair, frames[:1], estimator="median").make("int8")


def test_one_graph_has_biases_as_they_are(calibrator: Calibrator) -> None:
    plain = calibrator.make("int8-trt", correct_bias=False).graphs
    assert calibrator.one_graph("int8-trt", "extractor") == plain.extractor
    kept = calibrator.one_graph("int8-trt", "reconstructor", keep_float=("node_mix",))
    assert kept == calibrator.make("int8-trt", keep_float={"reconstructor": ("node_mix",)}, correct_bias=False).graphs[
        "reconstructor"
    ]  # fmt: skip


def test_on_a_cpu_no_convolution_stays_float_by_itself(calibrator: Calibrator, monkeypatch: pytest.MonkeyPatch) -> None:
    # One pattern that names two convolutions, and an op that is none.
    kept = {"reconstructor": ("node_m?an", "node_m*ge", "node_square")}
    graph = calibrator.make("int8", keep_float=kept, correct_bias=False).graphs.reconstructor
    assert int8_coverage(graph).float_conv == ["node_mean", "node_merge"]
    kept = {"reconstructor": ("node_me*",)}
    assert calibrator.make("int8", keep_float=kept, correct_bias=False).graphs.reconstructor == graph

    build = variants.build

    def behind_our_back(fp32: bytes, name: str, own: GraphRecord, extremes: Any) -> bytes:
        lost = {"keep_float": ["node_m*"]} if fp32 == calibrator.fp32.reconstructor else {}
        return build(fp32, name, own.model_copy(update=lost), extremes)

    monkeypatch.setattr(variants, "build", behind_our_back)
    with pytest.raises(GateError, match="3 convolutions stayed float, expected 0"):
        calibrator.make("int8", correct_bias=False)


def test_wrong_use_is_refused(calibrator: Calibrator, record: CalibrationRecord, pair: Graphs) -> None:
    for ask in (calibrator.make, lambda name: calibrator.one_graph(name, "extractor")):
        with pytest.raises(InputError, match=r"unknown variant 'int4'.*fp32, fp16, int8, int8-trt, int8-fp16-trt"):
            ask("int4")
    with pytest.raises(InputError, match="the calibration record has no variant 'int4', it has fp32, fp16, int8"):
        rebuild(pair, record, "int4")
    with pytest.raises(DataError, match="no images to calibrate on"):
        Calibrator.watch(pair, [])
    with pytest.raises(DataError, match="'nowhere' matches no node"):
        calibrator.make("int8-trt", keep_float={"extractor": ("nowhere",)})

    tuned = record.variants["int8"].model_copy(update={"tuned": True})
    with pytest.raises(InputError, match="weights of variant 'int8' were tuned, FP32 does not hold them"):
        rebuild(pair, record.model_copy(update={"variants": {"int8": tuned}}), "int8")
    foreign = record.variants["int8"].model_copy(update={"recipe": "int4"})
    with pytest.raises(InputError, match="unknown variant 'int4'"):
        rebuild(pair, record.model_copy(update={"variants": {"int8": foreign}}), "int8")
    half = record.variants["int8"].model_copy(update={"graphs": {}})
    with pytest.raises(BundleError, match="says nothing of the extractor of variant 'int8'"):
        rebuild(pair, record.model_copy(update={"variants": {"int8": half}}), "int8")
    with pytest.raises(DataError, match="the graph has no convolution"):  # the record of another model
        rebuild(Graphs(pair.reconstructor, pair.extractor), record, "int8")


def test_progress_sees_every_frame(pair: Graphs, frames: np.ndarray) -> None:
    seen: list[np.ndarray] = []

    def passing(images: Any) -> Any:
        for image in images:
            seen.append(image)
            yield image

    assert Calibrator.watch(pair, iter(frames[:3]), progress=passing).frames == 3
    np.testing.assert_array_equal(seen, frames[:3])
