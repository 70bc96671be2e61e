"""Which variants a backend runs, and which it gains by."""

from dataclasses import replace
from pathlib import Path

import pytest

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.engines.choice import runnable, suited
from diffad_runtime.errors import InputError


@pytest.fixture
def bundle(golden_bundle: Path) -> Bundle:
    return open_bundle(golden_bundle)


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
