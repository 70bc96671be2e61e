"""Small inputs that are valid, from which hostile ones are made: a bundle, a recipe, an archived session.

Knows what a device accepts. Needs neither onnx nor torch, so that it runs where a device does.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from bundlefuzz import pictures, wire
from bundlefuzz.zips import Parts
from diffad_runtime.bundle import open_bundle

SIDE, GRID = 32, 8
EXTRACTOR, RECONSTRUCTOR = "graphs/extractor.fp32.onnx", "graphs/reconstructor.fp32.onnx"


def extractor() -> list[wire.Field]:
    """image uint8 (1, S, S, 3) -> x = image / 127.5 - 1, f = x averaged over 4 x 4 pixels."""
    nodes = [
        wire.node("Cast", ["image"], ["levels"], to=1),
        wire.node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
        wire.node("Div", ["planes", "half"], ["scaled"]),
        wire.node("Sub", ["scaled", "one"], ["x"]),
        wire.node("AveragePool", ["x"], ["f"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    return wire.model(
        wire.graph(
            nodes,
            [wire.value_info("image", "uint8", [1, SIDE, SIDE, 3])],
            [
                wire.value_info("x", "float32", [1, 3, SIDE, SIDE]),
                wire.value_info("f", "float32", [1, 3, GRID, GRID]),
            ],
            [wire.tensor("half", np.array(127.5, np.float32)), wire.tensor("one", np.array(1, np.float32))],
        )
    )


def reconstructor() -> list[wire.Field]:
    """10 x mean of squares of x and f, enlarged, plus nothing: a branch of the operators that exports use, times 0."""
    node, f32 = wire.node, np.float32
    nodes = [
        node(
            "Conv",
            ["f", "w"],
            ["c1"],
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[1, 1],
            dilations=[1, 1],
            group=1,
        ),
        node("BatchNormalization", ["c1", "v4", "v4", "v4", "v4"], ["c2"], epsilon=1e-5),
        node("Relu", ["c2"], ["c3"]),
        node("QuantizeLinear", ["c3", "scale", "zero8"], ["c4"]),
        node("DequantizeLinear", ["c4", "scale", "zero8"], ["c5"]),
        node("Clip", ["c5", "low", "high"], ["c6"]),
        node("MatMul", ["c6", "square"], ["c7"]),
        node("Reshape", ["c7", "shape"], ["c8"]),
        node("Gather", ["c8", "index"], ["c9"], axis=1),
        node("Concat", ["c9", "c9"], ["c10"], axis=1),
        node("Neg", ["c10"], ["c11"]),
        node("Exp", ["c11"], ["c12"]),
        node("ReduceMean", ["c12"], ["c13"], axes=[0, 1, 2], keepdims=0),
        node("Mul", ["c13", "nought"], ["nothing"]),
        node("Mul", ["x", "x"], ["xx"]),
        node("AveragePool", ["xx"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        node("ReduceMean", ["pooled"], ["p1"], axes=[1], keepdims=1),
        node("Mul", ["p1", "ten"], ["p"]),
        node("Mul", ["f", "f"], ["ff"]),
        node("ReduceMean", ["ff"], ["q1"], axes=[1], keepdims=1),
        node("Mul", ["q1", "ten"], ["q2"]),
        node("Add", ["q2", "nothing"], ["q"]),
        node("Add", ["p", "q"], ["sum"]),
        node("Mul", ["sum", "half"], ["mean"]),
        node("Resize", ["mean", "", "scales"], ["large"], mode="linear"),
        node("Squeeze", ["large", "channel"], ["anomaly_map"]),
        node("Squeeze", ["p", "channel"], ["pixel_score"]),
        node("Squeeze", ["q", "channel"], ["feature_score"]),
    ]
    weights = {
        "w": np.full((4, 3, 3, 3), 0.1, f32),
        "v4": np.ones(4, f32),
        "scale": np.array(0.1, f32),
        "zero8": np.array(0, np.int8),
        "low": np.array(0, f32),
        "high": np.array(6, f32),
        "square": np.eye(GRID, dtype=f32),
        "shape": np.array([1, 16, 16], np.int64),
        "index": np.array([0, 2], np.int64),
        "nought": np.array(0, f32),
        "ten": np.array(10, f32),
        "half": np.array(0.5, f32),
        "scales": np.array([1, 1, 4, 4], f32),
        "channel": np.array([1], np.int64),
    }
    return wire.model(
        wire.graph(
            nodes,
            [
                wire.value_info("x", "float32", [1, 3, SIDE, SIDE]),
                wire.value_info("f", "float32", [1, 3, GRID, GRID]),
            ],
            [
                wire.value_info("anomaly_map", "float32", [1, SIDE, SIDE]),
                wire.value_info("pixel_score", "float32", [1, GRID, GRID]),
                wire.value_info("feature_score", "float32", [1, GRID, GRID]),
            ],
            [wire.tensor(name, values) for name, values in weights.items()],
        )
    )


def manifest() -> dict[str, Any]:
    """Every field that there is, `members` left out."""
    graphs = {"extractor": EXTRACTOR, "reconstructor": RECONSTRUCTOR}
    return {
        "schema_version": 1,
        "model_id": "fuzzed",
        "version": 3,
        "created": "2026-11-24T08:00:00Z",
        "input_size": SIDE,
        "resize": "stretch",
        "colour_order": "BGR",
        "grid": GRID,
        "backbone": {"name": "b", "strides": [4], "channels": [3], "licence": "Apache-2.0"},
        "reconstruction": {
            "steps": 1, "levels": [200], "alpha": 0.5, "feature_score": "likelihood", "smoothing_sigma": 0.0,
        },
        "image_score": {"kind": "top_mean", "pixels": 4},
        "min_defect_pixels": 2,
        "thresholds": {
            "pixel": 1.5, "image": 2.5, "good_images": 10, "false_reject_rate": 0.01, "guaranteed_rate": 0.1,
            "pixel_rate": 0.001, "confident_rate": 0.2, "pixel_guaranteed_rate": 0.01, "kind": "labelled",
            "shared": True, "labelled": {"good": 10, "defective": 5, "false_rejects": 1, "found": 4},
        },
        "normal_scores": {"count": 10, "ranks": [1, 5, 10], "values": [0.5, 1.25, 2.0]},
        "variants": {
            "fp32": {"precision": "fp32", "target": "any", **graphs},
            "second": {"precision": "fp32", "target": "cpu", **graphs},
        },
        "default_variant": "fp32",
        "provenance": {"config": {"preset": "hand", "seed": 1}, "packages": {"numpy": "2"}, "search": {"a": [1]}},
        "licences": ["none"],
    }  # fmt: skip


PARITY = {"map_max": 0.1, "map_mean": 0.01, "score_max": 0.1, "flips": 0, "frames": 2}


def tiny() -> Parts:
    """A bundle of 7 kB with a member of every kind, which onnxruntime runs and whose golden frames pass."""
    members = {
        EXTRACTOR: wire.write(extractor()),
        RECONSTRUCTOR: wire.write(reconstructor()),
        "parity.json": json.dumps({"variants": {"fp32": PARITY}}).encode(),
    }
    for number, grey in enumerate((128, 0)):
        value = 10 * (grey / 127.5 - 1) ** 2
        record = {"label": "good", "score": value, "verdict": "OK", "map_mean": value, "map_max": value}
        members[f"golden/{number:02d}.png"] = pictures.plain(SIDE, SIDE, grey)
        members[f"golden/{number:02d}.json"] = json.dumps(record).encode()
        members[f"golden/{number:02d}.f16"] = struct.pack("<e", value) * SIDE**2
    return Parts(manifest(), members, signature=b"s" * 64)


def of_file(path: Path) -> Parts:
    """A real bundle, of one variant: the one whose graphs are the smallest."""
    bundle = open_bundle(path)
    fields = bundle.manifest.model_dump(mode="json")
    size = {name: sum(len(graph) for graph in bundle.graphs(name)) for name in bundle.manifest.variants}
    name = min(size, key=lambda name: size[name])
    variant = bundle.manifest.variants[name]
    graphs = {variant.extractor, variant.reconstructor}
    members = {
        member: bundle.read(member)
        for member in bundle.manifest.members
        if member in graphs or not member.startswith("graphs/")
    }
    return Parts(fields | {"variants": {name: fields["variants"][name]}, "default_variant": name}, members)


RECIPE = """\
version = 1
name = "flange"
index = 7
product = "Flange 80 mm"
unit = "pixel"
frame = [120, 90]
image_threshold = 2.5
pixel_threshold = 1.5
min_defect_area = 4

[bundle]
model_id = "fuzzed"

[orientation]
rotate = 90
flip = "horizontal"

[tiling]
size = [64, 48]
overlap = 8

[cleanup]
open = 1.5
close = 2.0

[[regions]]
name = "ring"
polygons = [[[10, 10], [80.5, 12], [70, 60], [12, 55]], [[90, 70], [110, 70], [100, 85]]]
view = "tiles"
image_threshold = 3.0

[[regions]]
name = "whole"
view = "frame"

[[ignore]]
polygons = [[[0, 0], [20, 0], [20, 20]]]

[[ignore]]
image = "mask.png"
"""
"""A recipe with every table; mask.png beside it is 120 x 90."""


LINE = """\
version = 1
site = "plant-1"
line = "press-3"
station = "left"
triggered = true
deadline_ms = 400
late_trigger_ms = 20.5
beat_s = 0.5

[mqtt]
host = "broker.plant-1"
username = "press-3"
password_env = "MQTT_PASSWORD"

[modbus]
host = "127.0.0.1"
"""
"""A line file of two tables. Nothing of it is opened when it is read."""


def record() -> dict[str, Any]:
    """A line of an archived session; file_sha256 is left to whoever writes the picture."""
    return {
        "format": 1, "seq": 0, "file": "000000_OK_20261127T101730.250000Z_part.png", "file_sha256": "0" * 64,
        "grey": False, "frame_id": 0, "name": "n", "part_id": "part", "recipe": "",
        "t_capture": "2026-11-27T10:17:30.250000Z", "t_trigger": None, "verdict": "OK", "score": 0.1, "error": "",
        "mask": {"size": [SIDE, SIDE], "counts": "PP1"}, "map_sha256": "0" * 64, "image_threshold": 2.5,
        "pixel_threshold": 1.5, "bundle_digest": "ab" * 32, "variant": "fake", "backend": "fake",
        "defects": [], "regions": [], "latency_ms": {"total": 1.0},
    }  # fmt: skip
