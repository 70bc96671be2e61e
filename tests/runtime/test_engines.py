"""Engines against numpy, on graphs small enough to compute by hand; their faults; and what is built on top of them."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from diffad_runtime.bench import bench
from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.engines.choice import runnable
from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine, usable_cores
from diffad_runtime.engines.select import open_engine
from diffad_runtime.errors import BundleError, EngineError, InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.manifest import Manifest
from diffad_runtime.result import Verdict

S, G = 32, 8
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def _model(nodes: list[onnx.NodeProto], inputs: dict[str, list[object]], outputs: dict[str, list[object]]) -> bytes:
    def values(shapes: dict[str, list[object]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, UINT8 if n == "image" else FLOAT, s) for n, s in shapes.items()]

    scale = helper.make_tensor("scale", FLOAT, [], [1 / 127.5])
    one = helper.make_tensor("one", FLOAT, [], [1.0])
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), [scale, one])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def _extractor(size: object = S) -> bytes:
    """x = image / 127.5 - 1, f = 4 x 4 means of x."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["last"]),
        helper.make_node("Transpose", ["last"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["x"], ["f"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    grid = size // 4 if isinstance(size, int) else size
    return _model(nodes, {"image": [1, size, size, 3]}, {"x": [1, 3, size, size], "f": [1, 3, grid, grid]})


def _reconstructor(first: str = "Abs", *, map_name: str = "anomaly_map") -> bytes:
    """anomaly = mean over channels of |x|, pixel = its 4 x 4 means, feature = mean over channels of f squared."""
    chain = first.split()
    names = ["x", *(f"a{number}" for number in range(1, len(chain))), "ax"]
    nodes = [
        *(helper.make_node(one, [names[at]], [names[at + 1]]) for at, one in enumerate(chain)),
        helper.make_node("ReduceMean", ["ax"], [map_name], axes=[1], keepdims=0),
        helper.make_node("AveragePool", ["ax"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMean", ["pooled"], ["pixel_score"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["f", "f"], ["ff"]),
        helper.make_node("ReduceMean", ["ff"], ["feature_score"], axes=[1], keepdims=0),
    ]
    outputs: dict[str, list[object]] = {map_name: [1, S, S], "pixel_score": [1, G, G], "feature_score": [1, G, G]}
    return _model(nodes, {"x": [1, 3, S, S], "f": [1, 3, G, G]}, outputs)


def _pyramid(*, pixel: bool, last: list[object] | None = None) -> tuple[bytes, bytes]:
    """Features on two grids: f4 = 4 x 4 means of x, f8 = 8 x 8 means. feature = mean over channels of f4, plus f8's."""
    cast = [
        helper.make_node("Cast", ["image"], ["float"], to=FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["last"]),
        helper.make_node("Transpose", ["last"], ["x"], perm=[0, 3, 1, 2]),
    ]
    pools = [helper.make_node("AveragePool", ["x"], [f"f{n}"], kernel_shape=[n, n], strides=[n, n]) for n in (4, 8)]
    between: dict[str, list[object]] = {"x": [1, 3, S, S], "f4": [1, 3, G, G], "f8": [1, 3, G // 2, G // 2]}
    extractor = _model([*cast, *pools], {"image": [1, S, S, 3]}, between)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["anomaly_map"], axes=[1], keepdims=0),
        helper.make_node("ReduceMean", ["f8"], ["m8"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["f4"], ["m4"], axes=[1], keepdims=0),
        helper.make_node("Add", ["m4", "m8"], ["feature_score"]),
    ]
    outputs: dict[str, list[object]] = {"anomaly_map": [1, S, S], "feature_score": [1, G, G]}
    if pixel:
        nodes.append(helper.make_node("Neg", ["feature_score"], ["pixel_score"]))
        outputs["pixel_score"] = [1, G, G]
    return extractor, _model(nodes, {**between, **({"f8": last} if last else {})}, outputs)


def _bundle(folder: Path, reconstructor: bytes | None = None) -> Bundle:
    members = {"graphs/e.onnx": _extractor(), "graphs/r.onnx": reconstructor or _reconstructor()}
    variant = {"precision": "fp32", "target": "any", "extractor": "graphs/e.onnx", "reconstructor": "graphs/r.onnx"}
    manifest = Manifest.model_validate(
        {
            "model_id": "tiny",
            "version": 1,
            "created": "2026-11-24T08:00:00Z",
            "input_size": S,
            "grid": G,
            "backbone": {"name": "means", "strides": [4], "channels": [3], "licence": "none"},
            "reconstruction": {
                "steps": 1,
                "levels": [0],
                "alpha": 0.5,
                "feature_score": "residual",
                "smoothing_sigma": 0,
            },
            "image_score": {"pixels": 16},
            "thresholds": {
                "pixel": 0.5,
                "image": 0.6,
                "good_images": 1,
                "false_reject_rate": 0.01,
                "guaranteed_rate": 1,
                "pixel_rate": 0.01,
            },
            "variants": {
                "fp32": variant,
                "int8": {**variant, "precision": "int8", "target": "cpu"},
                "int8-trt": {**variant, "precision": "int8", "target": "tensorrt"},
            },
            "default_variant": "fp32",
            "members": {name: member.model_dump() for name, member in describe_members(members).items()},
        }
    )
    return open_bundle(write_bundle(folder / "tiny.diffad", manifest, members))


def _image(seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (S, S, 3), dtype=np.uint8)


def _pool(planes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return planes.reshape(*planes.shape[:-2], G, 4, G, 4).mean(axis=(-3, -1))


def _engine(extractor: bytes | None = None, reconstructor: bytes | None = None, **options: object) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(
        extractor or _extractor(),
        reconstructor or _reconstructor(),
        input_size=S,
        variant="fp32",
        threads=1,
        **options,  # type: ignore[arg-type]
    )


def test_maps_equal_numpy() -> None:
    image = _image()
    x = image.transpose(2, 0, 1) / 127.5 - 1
    with _engine() as engine:
        maps = engine.infer(image)
    np.testing.assert_allclose(maps.anomaly, np.abs(x).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(maps.pixel, _pool(np.abs(x)).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(maps.feature, (_pool(x) ** 2).mean(axis=0), atol=1e-6)
    assert maps.anomaly.dtype == maps.pixel.dtype == maps.feature.dtype == np.float32
    assert maps.extract_ms > 0
    assert maps.reconstruct_ms > 0


@pytest.mark.parametrize("pixel", [True, False])
def test_features_of_several_grids_and_an_optional_pixel_score(pixel: bool) -> None:
    image = _image()
    x = image.transpose(2, 0, 1) / 127.5 - 1
    with _engine(*_pyramid(pixel=pixel)) as engine:
        maps = engine.infer(image)
    np.testing.assert_allclose(maps.feature, _pool(x).mean(axis=0) + x.mean(), atol=1e-6)
    if pixel:
        assert maps.pixel is not None
        np.testing.assert_array_equal(maps.pixel, -maps.feature)
    else:
        assert maps.pixel is None


@pytest.mark.parametrize("other", [[1, 3, G // 4, G // 4], [1, 4, G // 2, G // 2], [1, 3, "g", "g"]])
def test_graphs_must_agree_on_every_feature(other: list[object]) -> None:
    extractor, reconstructor = _pyramid(pixel=True, last=other)
    with pytest.raises(EngineError, match=r"the reconstructor's inputs are x .*f8.*expected x .*f4 .*f8"):
        _engine(extractor, reconstructor)


def test_an_engine_of_several_threads_leaves_opencv_one() -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        _engine().close()
        assert cv2.getNumThreads() == 3
        OnnxRuntimeEngine(_extractor(), _reconstructor(), input_size=S, variant="v", threads=2).close()
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def test_arrays_belong_to_the_caller() -> None:
    with _engine() as engine:
        first = engine.infer(_image(0))
        kept = [array.copy() for array in (first.anomaly, first.pixel, first.feature)]
        second = engine.infer(_image(1))
        for array, copy, other in zip(
            (first.anomaly, first.pixel, first.feature),
            kept,
            (second.anomaly, second.pixel, second.feature),
            strict=True,
        ):
            np.testing.assert_array_equal(array, copy)
            assert not np.shares_memory(array, other)
            array[...] = 7  # writable
    np.testing.assert_array_equal(second.anomaly, _engine().infer(_image(1)).anomaly)


def test_same_frame_same_map_in_a_new_process(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    code = (
        "import numpy as np, hashlib\n"
        "from diffad_runtime import open_bundle, open_engine\n"
        f"engine = open_engine(open_bundle({str(bundle.path)!r}), threads=1)\n"
        f"image = np.random.default_rng(0).integers(0, 256, ({S}, {S}, 3), dtype=np.uint8)\n"
        "print(hashlib.sha256(engine.infer(image).anomaly.tobytes()).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64
    assert runs[0].stderr == ""


def test_wrong_images_are_refused() -> None:
    with _engine() as engine:
        for wrong in (_image()[:16], _image().astype(np.float32), _image()[..., :1]):
            with pytest.raises(EngineError, match="expects a uint8 image"):
                engine.infer(wrong)


def test_nan_is_refused() -> None:
    with _engine(reconstructor=_reconstructor("Log")) as engine, pytest.raises(EngineError, match="NaN"):
        engine.infer(np.zeros((S, S, 3), np.uint8))


def test_closed_engine_says_so() -> None:
    engine = _engine()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(_image())


@pytest.mark.parametrize(
    ("extractor", "reconstructor", "expected"),
    [
        (b"\x08\x01", None, "extractor cannot be loaded"),
        (None, b"garbage", "reconstructor cannot be loaded"),
        (_extractor(64), None, "the extractor's inputs are"),
        (_extractor("s"), None, "of fixed size"),
        (None, _reconstructor(map_name="map"), "the reconstructor's outputs are"),
        (_reconstructor(), None, "the extractor's inputs are"),
    ],
)
def test_wrong_graphs_are_refused_in_one_line(
    extractor: bytes | None, reconstructor: bytes | None, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineError, match=expected) as caught:
        _engine(extractor, reconstructor)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_failure_while_running_is_translated(capfd: pytest.CaptureFixture[str]) -> None:
    with _engine() as engine, pytest.raises(EngineError, match="extractor failed") as caught:
        engine._infer(np.zeros((1, 4, 4, 3), np.uint8))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_threads() -> None:
    assert usable_cores() >= 1
    with pytest.raises(InputError, match="threads must be 1 or more"):
        OnnxRuntimeEngine(_extractor(), _reconstructor(), input_size=S, variant="v", threads=0)


def test_fake_engine_closed_form() -> None:
    with FakeEngine(16) as engine:
        assert engine.infer(np.full((16, 16, 3), 128, np.uint8)).anomaly.max() == 0
        black = engine.infer(np.zeros((16, 16, 3), np.uint8))
        np.testing.assert_array_equal(black.anomaly, np.ones((16, 16), np.float32))
        np.testing.assert_array_equal(black.feature, np.ones((4, 4), np.float32))
        np.testing.assert_array_equal(black.pixel, black.feature)
        assert FakeEngine(16, pixel_score=False).infer(np.zeros((16, 16, 3), np.uint8)).pixel is None
        dot = np.full((16, 16, 3), 128, np.uint8)
        dot[8, 8] = 0
        expected = np.zeros((16, 16), np.float32)
        expected[7:10, 7:10] = 1 / 9
        np.testing.assert_allclose(engine.infer(dot).anomaly, expected, atol=1e-6)
    with FakeEngine(16, fails=lambda image: image.max() == 0) as failing:
        failing.infer(dot)
        with pytest.raises(EngineError, match="as it was told to"):
            failing.infer(np.zeros((16, 16, 3), np.uint8))


def test_select(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    with open_engine(bundle) as engine:
        assert (engine.backend, engine.variant, engine.input_size) == ("onnxruntime", "fp32", S)
    with open_engine(bundle, "onnxruntime", "int8", threads=1) as engine:
        assert engine.variant == "int8"
    with pytest.raises(InputError, match=r"unknown backend 'cuda'.*auto, onnxruntime, tensorrt"):
        open_engine(bundle, "cuda")
    with pytest.raises(EngineError, match=r"TensorRT.*--backend onnxruntime"):
        open_engine(bundle, "tensorrt")
    with pytest.raises(InputError, match="no variant 'fp16', it has fp32, int8, int8-trt"):
        open_engine(bundle, variant="fp16")
    with pytest.raises(InputError, match=r"made for TensorRT.*fp32, int8"):
        open_engine(bundle, variant="int8-trt")
    with open_engine(bundle, variant="int8-trt", threads=1, foreign=True) as engine:
        assert (engine.backend, engine.variant) == ("onnxruntime", "int8-trt")
    with pytest.raises(EngineError, match="TensorRT"):
        open_engine(bundle, "tensorrt", foreign=True)


def test_which_variants_a_backend_runs(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    assert runnable(bundle) == runnable(bundle, "onnxruntime") == ["fp32", "int8"]
    assert runnable(bundle, foreign=True) == ["fp32", "int8", "int8-trt"]
    assert runnable(bundle, "tensorrt") == runnable(bundle, "tensorrt", foreign=True) == ["fp32", "int8-trt"]
    with pytest.raises(InputError, match="unknown backend 'cuda'"):
        runnable(bundle, "cuda")
    with pytest.raises(InputError, match="made for TensorRT"):
        Inspector.open(bundle.path, variant="int8-trt")


def test_inspector_opens_a_bundle(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    with Inspector.open(bundle.path, threads=1) as inspector:
        good = inspector.inspect(np.full((48, 64, 3), 128, np.uint8))
        bad = inspector.inspect(np.zeros((48, 64, 3), np.uint8))
    assert (good.verdict, bad.verdict) == (Verdict.OK, Verdict.NG)
    assert (bad.score, bad.pixel_threshold, bad.image_threshold) == (pytest.approx(1.0), 0.5, 0.6)
    assert bad.mask.shape == (48, 64)
    assert bad.mask.min() == 255
    assert (bad.bundle_digest, bad.variant, bad.backend) == (bundle.digest, "fp32", "onnxruntime")
    with Inspector.open(bundle.path, threads=1, image_threshold=2.0, pixel_threshold=1.5) as lenient:
        result = lenient.inspect(np.zeros((48, 64, 3), np.uint8))
        assert (result.verdict, result.mask.max(), result.image_threshold) == (Verdict.OK, 0, 2.0)
    with pytest.raises(InputError, match="NaN"):
        Inspector.open(bundle.path, image_threshold=float("nan"))
    with pytest.raises(BundleError, match="does not exist"):
        Inspector.open(tmp_path / "none.diffad")


def test_an_engine_that_cannot_run_fails_when_opened(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path, _reconstructor("Log Sqrt"))  # NaN below 1, so at the warm-up frame too
    with pytest.raises(EngineError, match="NaN"):
        Inspector.open(bundle.path, threads=1)


def test_bench_report(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    calls: list[tuple[int, ...]] = []
    rounds: list[tuple[int, int]] = []

    def teacher(frame: npt.NDArray[np.uint8]) -> dict[str, float]:
        calls.append(frame.shape)
        return {"network": 5.0, "score": 3.0}

    report = bench(
        bundle,
        frames=6,
        frame_size=(40, 50),
        threads=1,
        extra={"teacher": teacher, "told": lambda _: {"network": 5.0, "total": 9.0}},
        on_round=lambda done, total: rounds.append((done, total)),
    )
    made = report.to_json()
    assert list(made)[:6] == ["frames_per_second", "latency_ms", "stages", "peak_rss_mb", "backend", "variant"]
    assert (made["backend"], made["variant"]) == ("onnxruntime", "fp32")
    assert list(made["variants"]) == ["fp32", "int8", "teacher", "told"]
    assert list(made["stages"]) == ["resize", "extract", "reconstruct", "mask"]
    assert all(list(times) == ["p50", "p95", "p99"] for times in [made["latency_ms"], *made["stages"].values()])
    assert made["latency_ms"]["p50"] <= made["latency_ms"]["p95"] <= made["latency_ms"]["p99"]
    assert made["peak_rss_mb"] > 10
    taught = made["variants"]["teacher"]
    assert taught["latency_ms"]["p50"] == pytest.approx(8.0, rel=0.002)
    assert made["variants"]["told"]["latency_ms"]["p50"] == pytest.approx(9.0, rel=0.002)
    assert taught["frames_per_second"] == pytest.approx(125.0)
    assert set(calls) == {(40, 50, 3)}
    assert rounds == [(done, 6) for done in range(1, 7)]
    named = bench(bundle, variants=["int8", "int8-trt"], frames=1, frame_size=None, threads=1).to_json()
    assert named["frame_size"] == [S, S]
    assert list(named["variants"]) == ["int8", "int8-trt"]


def test_bench_refuses_nonsense(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    with pytest.raises(InputError, match="at least one"):
        bench(bundle, variants=[])
    with pytest.raises(InputError, match="different"):
        bench(bundle, variants=["fp32", "fp32"])
    with pytest.raises(InputError, match="cannot time 0 frames"):
        bench(bundle, frames=0)
