"""Which variants a backend runs, and which it gains by."""

from dataclasses import replace
from pathlib import Path

import pytest

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.engines.choice import runnable, suited
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import Manifest


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    """The tiny bundle, its graphs under five names."""
    opened = open_bundle(tiny_bundle)
    graphs = opened.manifest.variants["fp32"].model_dump()
    kinds = {
        "fp32": ("fp32", "any"),
        "fp16": ("fp16", "any"),
        "int8": ("int8", "cpu"),
        "int8-trt": ("int8", "tensorrt"),
        "int8-fp16-trt": ("int8-fp16", "tensorrt"),
    }
    variants = {n: graphs | {"precision": precision, "target": target} for n, (precision, target) in kinds.items()}
    return replace(opened, manifest=Manifest.model_validate(opened.manifest.model_dump() | {"variants": variants}))


def test_what_runs_and_what_is_worth_a_look(bundle: Bundle) -> None:
    assert runnable(bundle) == ["fp32", "fp16", "int8"]
    assert runnable(bundle, "onnxruntime", foreign=True) == list(bundle.manifest.variants)
    assert suited(bundle) == ["fp32", "int8"]
    assert suited(bundle, "tensorrt") == ["fp32", "fp16", "int8-trt", "int8-fp16-trt"]
    with pytest.raises(InputError, match="unknown backend 'cuda'"):
        suited(bundle, "cuda")


def test_fp16_is_shown_where_it_is_what_the_bundle_runs(bundle: Bundle) -> None:
    changed = bundle.manifest.model_copy(update={"default_variant": "fp16"})
    assert suited(replace(bundle, manifest=changed)) == ["fp32", "fp16", "int8"]
