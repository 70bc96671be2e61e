"""Fixtures that several rooms use: a real bundle of two tiny hand-made graphs, and a run that was really trained.

Knows the contract of the two graphs and the bundle's writer, and how small a setting still goes the whole way.
"""

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

# Sessions of many threads on few cores make tests slow and timings jump.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

if TYPE_CHECKING:
    from onnx import GraphProto

    from diffad_export.backbone import Extractor
    from diffad_export.exportoptions import ExportOptions
    from diffad_export.feature_cache import FeatureCache
    from diffad_export.recipe import ExportSummary

TINY_SIZE = 64
TINY_GRID = 16

# Where the tests are started in the background, Ctrl-C comes ignored, and tests that press it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    """What a command sets up for its process must not outlive its test: pytest hangs its own handler on every logger
    that does not propagate, and would see each line twice where one does again."""
    from diffad_runtime.health.logs import ROOTS

    loggers = [logging.getLogger(name) for name in ROOTS]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


def _extractor() -> bytes:
    """image uint8 (1, S, S, 3) -> x = image / 127.5 - 1, f = x averaged over 4 x 4 pixels."""
    from onnx import TensorProto, helper, numpy_helper

    size, grid = TINY_SIZE, TINY_GRID
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "half"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["x"]),
        helper.make_node("AveragePool", ["x"], ["f"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    graph = helper.make_graph(
        nodes,
        "extractor",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, size, size, 3])],
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size]),
            helper.make_tensor_value_info("f", TensorProto.FLOAT, [1, 3, grid, grid]),
        ],
        [
            numpy_helper.from_array(np.array(127.5, np.float32), "half"),
            numpy_helper.from_array(np.array(1.0, np.float32), "one"),
        ],
    )
    return _model(graph)


def _reconstructor() -> bytes:
    """Grey (0 in [-1, 1]) is good: feature = 10 mean_c f^2, pixel = 10 mean_c pool(x^2), map = their mean, enlarged."""
    from onnx import TensorProto, helper, numpy_helper

    size, grid = TINY_SIZE, TINY_GRID
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["xx"]),
        helper.make_node("AveragePool", ["xx"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMean", ["pooled"], ["p1"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["p1", "ten"], ["p"]),
        helper.make_node("Mul", ["f", "f"], ["ff"]),
        helper.make_node("ReduceMean", ["ff"], ["q1"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["q1", "ten"], ["q"]),
        helper.make_node("Add", ["p", "q"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["mean"]),
        helper.make_node("Resize", ["mean", "", "scales"], ["large"], mode="linear"),
        helper.make_node("Squeeze", ["large", "channel"], ["anomaly_map"]),
        helper.make_node("Squeeze", ["p", "channel"], ["pixel_score"]),
        helper.make_node("Squeeze", ["q", "channel"], ["feature_score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "reconstructor",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size]),
            helper.make_tensor_value_info("f", TensorProto.FLOAT, [1, 3, grid, grid]),
        ],
        [
            helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, [1, size, size]),
            helper.make_tensor_value_info("pixel_score", TensorProto.FLOAT, [1, grid, grid]),
            helper.make_tensor_value_info("feature_score", TensorProto.FLOAT, [1, grid, grid]),
        ],
        [
            numpy_helper.from_array(np.array(10.0, np.float32), "ten"),
            numpy_helper.from_array(np.array(0.5, np.float32), "half"),
            numpy_helper.from_array(np.array([1, 1, 4, 4], np.float32), "scales"),
            numpy_helper.from_array(np.array([1], np.int64), "channel"),
        ],
    )
    return _model(graph)


def _model(graph: "GraphProto") -> bytes:
    from onnx import checker, helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _write(path: Path, members: Mapping[str, bytes]) -> Path:
    from diffad_runtime.bundle import describe_members, write_bundle
    from diffad_runtime.manifest import (
        Backbone,
        ImageScore,
        Manifest,
        Reconstruction,
        Thresholds,
        Variant,
    )

    graphs = {"extractor": "graphs/extractor.fp32.onnx", "reconstructor": "graphs/reconstructor.fp32.onnx"}
    manifest = Manifest(
        model_id="tiny",
        version=1,
        created=datetime(2026, 1, 1, tzinfo=timezone.utc),
        input_size=TINY_SIZE,
        grid=TINY_GRID,
        backbone=Backbone(name="hand-made", strides=[4], channels=[3], licence="none"),
        reconstruction=Reconstruction(steps=1, levels=[200], alpha=0.5, feature_score="residual", smoothing_sigma=0.0),
        image_score=ImageScore(pixels=16),
        thresholds=Thresholds(
            pixel=2.0, image=2.0, good_images=20, false_reject_rate=0.05, guaranteed_rate=0.05, pixel_rate=0.001
        ),
        variants={
            "fp32": Variant(precision="fp32", target="any", **graphs),
            "second": Variant(precision="fp32", target="cpu", **graphs),
        },
        default_variant="fp32",
        members=describe_members(members),
        provenance={"config": {"preset": "[hand] made"}, "packages": {"numpy": np.__version__}},
        licences=["The graphs are hand-made; no weights inside."],
    )
    return write_bundle(path, manifest, members)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .diffad file that calls grey good: S = 64, G = 16, pixel and image threshold 2, image score of 16 pixels.

    A frame of 128 scores 0.0002 and is OK; 16 white pixels or more, side by side on the grid, score near 10 and are NG.
    Variants "fp32" (default) and "second" share their graphs.
    """
    members = {"graphs/extractor.fp32.onnx": _extractor(), "graphs/reconstructor.fp32.onnx": _reconstructor()}
    return _write(tmp_path_factory.mktemp("bundle") / "tiny.diffad", members)


@pytest.fixture(scope="session")
def golden_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle's graphs under the five names that an export makes, with four golden frames.

    The golden maps are those of onnxruntime on the FP32 graphs; frames 00 and 02 are OK, 01 and 03 NG.
    """
    from diffad_runtime.bundle import describe_members, golden_members, open_bundle, write_bundle
    from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine
    from diffad_runtime.parity import FrameOutcome
    from diffad_runtime.scoring import image_score

    tiny = open_bundle(tiny_bundle)
    graphs = tiny.manifest.variants["fp32"]
    kinds = {
        "fp32": ("fp32", "any"),
        "fp16": ("fp16", "any"),
        "int8": ("int8", "cpu"),
        "int8-trt": ("int8", "tensorrt"),
        "int8-fp16-trt": ("int8-fp16", "tensorrt"),
    }
    members = {name: tiny.read(name) for name in (graphs.extractor, graphs.reconstructor)}
    with OnnxRuntimeEngine(*tiny.graphs(), input_size=TINY_SIZE, variant="fp32", threads=1) as engine:
        for number in range(4):
            image = np.random.default_rng(number).integers(118, 139, (TINY_SIZE, TINY_SIZE, 3), dtype=np.uint8)
            if number % 2:
                image[10:30, 20:40] = number
            anomaly = engine.infer(image).anomaly
            score = image_score(anomaly, tiny.manifest.image_score)
            ng = score > tiny.manifest.thresholds.image
            assert ng == bool(number % 2)
            members |= golden_members(number, image, FrameOutcome(anomaly, score, ng), "made")
    manifest = tiny.manifest.model_copy(
        update={
            "variants": {
                name: graphs.model_copy(update={"precision": precision, "target": target})
                for name, (precision, target) in kinds.items()
            },
            "default_variant": "int8",
            "members": describe_members(members),
        }
    )
    return write_bundle(tmp_path_factory.mktemp("golden") / "golden.diffad", manifest, members)


@pytest.fixture(scope="session")
def line_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of the synthetic line in MVTec-AD layout: 40 good ones to train on, 6 good and 8 defective to test."""
    from diffad_runtime.synthetic import LineConfig, write_mvtec

    folder = tmp_path_factory.mktemp("data") / "line"
    return write_mvtec(folder, LineConfig(size=96), train_good=40, test_good=6, test_per_kind=2)


@pytest.fixture(scope="session")
def tiny_run(line_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose teacher was trained for 20 steps at 64 px."""
    from diffad_export.config import AugmentConfig, OptimiserConfig, ScoreConfig, TeacherConfig, TrainConfig
    from diffad_export.train import train

    config = TrainConfig(
        size=TINY_SIZE,
        holdback=0.2,
        augment=AugmentConfig(samples=64),
        teacher=TeacherConfig(widths=(32, 64)),
        optimiser=OptimiserConfig(steps=20, batch=8, learning_rate=1e-3, warmup_steps=5),
        # Whitening asks more of INT8 than a student of 30 steps can give.
        score=ScoreConfig(feature_score="likelihood", variance_floor=0, alpha=None),
    )
    return train(line_data, tmp_path_factory.mktemp("run") / "run", config).run


@pytest.fixture(scope="session")
def tiny_options() -> "ExportOptions":
    """What `tiny_export` was made with: a student of width 16, 30 steps."""
    from diffad_export.config import DistilConfig, OptimiserConfig, ThresholdConfig
    from diffad_export.exportoptions import ExportOptions

    return ExportOptions(
        distil=DistilConfig(
            width=16, draws=2, optimiser=OptimiserConfig(steps=30, batch=8, learning_rate=1e-3, warmup_steps=5)
        ),
        thresholds=ThresholdConfig(false_reject_rate=0.2),
        max_aupro_drop=0.3,  # so short a training gives no figure worth gating
    )


@pytest.fixture(scope="session")
def tiny_export(
    line_data: Path, tiny_run: Path, tiny_options: "ExportOptions", tmp_path_factory: pytest.TempPathFactory
) -> "ExportSummary":
    """The bundle of `tiny_run`, FP32 and INT8."""
    from diffad_export.recipe import export

    return export(tiny_run, line_data, tmp_path_factory.mktemp("export") / "line.diffad", tiny_options)


@pytest.fixture(scope="session")
def lite0() -> "Extractor":
    """EfficientNet-Lite0 with its packaged weights."""
    from diffad_export.backbone import load_backbone

    return load_backbone("efficientnet_lite0")


@pytest.fixture(scope="session")
def small_cache() -> "FeatureCache":
    """12 random images of 32 px with 6 random channels on the 8 x 8 grid; no backbone had a part in it."""
    import torch

    from diffad_export.feature_cache import FeatureCache
    from diffad_export.reconstructor import FeatureNorm

    rng = np.random.default_rng(0)
    features = rng.normal(0.5, 2, (12, 6, 8, 8)).astype(np.float16)
    wide = features.astype(np.float32)
    norm = FeatureNorm(torch.from_numpy(wide.mean((0, 2, 3))), torch.from_numpy(wide.std((0, 2, 3))))
    images, labels = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), np.zeros(12, np.int64)
    return FeatureCache(images, features, norm, "random", labels)
