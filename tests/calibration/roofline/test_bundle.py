"""A bundle's variants on boards: which are estimated, what is refused, that everything says that it is an estimate."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from diffad_calibration.roofline import BOARDS, estimate_bundle
from diffad_runtime.bundle import describe_members, open_bundle, write_bundle
from diffad_runtime.errors import BundleError, DiffadError, InputError


def unlabelled(value: Any, path: str = "") -> list[str]:
    """Objects with a time, a rate or a size in them that do not say "estimate": true."""
    if isinstance(value, list):
        return [found for index, one in enumerate(value) for found in unlabelled(one, f"{path}[{index}]")]
    if not isinstance(value, dict):
        return []
    figures = {"ms", "frames_per_second", "build_mb", "variants", "boards"} & set(value)
    bad = [path] if figures and value.get("estimate") is not True else []
    return bad + [found for key, one in value.items() for found in unlabelled(one, f"{path}.{key}")]


def test_variants_that_tensorrt_may_be_given_on_all_boards(tiny_bundle: Path) -> None:
    found = estimate_bundle(open_bundle(tiny_bundle), ["all"])
    assert list(found.variants) == ["fp32"]  # "second" is made for the CPU
    assert list(found.variants["fp32"]) == list(BOARDS)
    one = found.variants["fp32"]["orin-nano-8gb"]
    assert one.ms.low == sum(graph.ms.low for graph in one.graphs.values())
    slowest = one.slowest(3)
    assert [layer.ms.high for _, layer in slowest] == sorted((layer.ms.high for _, layer in slowest), reverse=True)
    assert len(one.slowest(99)) == sum(len(graph.layers) for graph in one.graphs.values())


def test_json_says_estimate_everywhere(tiny_bundle: Path) -> None:
    record = estimate_bundle(open_bundle(tiny_bundle), ["orin-nano-8gb", "thor-t5000"]).to_json(layers=2)
    json.dumps(record, allow_nan=False)
    assert record["estimate"] is True
    assert unlabelled(record) == []
    assert unlabelled({"ms": 1}) == [""]
    variant = record["boards"]["thor-t5000"]["variants"]["fp32"]
    assert len(variant["slowest_layers"]) == 2
    assert "resize of the frame on the CPU" in record["left_out"]


def test_only_whoever_asks_for_fp32_gets_it(tiny_bundle: Path, tmp_path: Path) -> None:
    tiny = open_bundle(tiny_bundle)
    exact = tiny.manifest.variants["fp32"]
    members = {name: tiny.read(name) for name in tiny.manifest.members}
    model = onnx.load_from_string(members[exact.extractor])
    pool = next(node for node in model.graph.node if node.op_type == "AveragePool")
    pool.op_type = "Conv"
    pool.input.append("w")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((3, 3, 4, 4), np.float32), "w"))
    members[exact.extractor] = model.SerializeToString()
    mixed = exact.model_copy(update={"precision": "int8", "target": "tensorrt"})
    manifest = tiny.manifest.model_copy(
        update={"variants": {"fp32": exact, "mixed": mixed}, "members": describe_members(members)}
    )
    bundle = open_bundle(write_bundle(tmp_path / "mixed.diffad", manifest, members))
    found = estimate_bundle(bundle, ["orin-nano-8gb"]).variants
    rates = {
        name: {rate for layer in one["orin-nano-8gb"].graphs["extractor"].layers for rate in layer.kernel.operations}
        for name, one in found.items()
    }
    assert rates == {"fp32": {"fp32", "cuda"}, "mixed": {"tf32", "cuda"}}


def test_what_cannot_be_estimated(tiny_bundle: Path, tmp_path: Path) -> None:
    tiny = open_bundle(tiny_bundle)
    with pytest.raises(InputError, match="variant 'second' is made for cpu"):
        estimate_bundle(tiny, ["all"], ["second"])
    with pytest.raises(InputError, match="no variant 'nine'"):
        estimate_bundle(tiny, ["all"], ["nine"])
    with pytest.raises(InputError, match="unknown board"):
        estimate_bundle(tiny, ["nano"])
    cpu = tiny.manifest.model_copy(
        update={"variants": {"second": tiny.manifest.variants["second"]}, "default_variant": "second"}
    )
    only = write_bundle(tmp_path / "cpu.diffad", cpu, {name: tiny.read(name) for name in tiny.manifest.members})
    with pytest.raises(InputError, match="no variant that TensorRT may be given, the bundle has second"):
        estimate_bundle(open_bundle(only), ["all"])


def test_a_graph_of_open_sizes_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    tiny = open_bundle(tiny_bundle)
    members = {name: tiny.read(name) for name in tiny.manifest.members}
    name = tiny.manifest.variants["fp32"].extractor
    model = onnx.load_from_string(members[name])
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "h"
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[2].dim_param = "h"
    members[name] = model.SerializeToString()
    manifest = tiny.manifest.model_copy(update={"members": describe_members(members)})
    # No such bundle can be opened any more; the estimate must not rely on that.
    with pytest.raises(BundleError, match=r"extractor.fp32.onnx': input 'image' has no fixed size"):
        write_bundle(tmp_path / "open.diffad", manifest, members)
    bundle = replace(tiny, manifest=manifest, _members={name: memoryview(body) for name, body in members.items()})
    with pytest.raises(DiffadError, match=r"extractor.fp32: the size of tensor '\w+' is not known"):
        estimate_bundle(bundle, ["all"])
