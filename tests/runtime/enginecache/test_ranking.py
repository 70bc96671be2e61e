"""An order that was measured is found again for the same bundle on the same device, and for nothing else."""

from pathlib import Path

import pytest

from diffad_runtime.enginecache.key import DeviceFacts
from diffad_runtime.enginecache.ranking import find_ranking, keep_ranking
from diffad_runtime.errors import InputError

ORIN = DeviceFacts(
    tensorrt="10.3.0", cuda="12.6", compute_capability="8.7", multiprocessors=8, gpu="Orin", l4t="36.4.3"
)
DIGEST = "ab" * 32


def test_the_fastest_comes_first(tmp_path: Path) -> None:
    kept = keep_ranking(tmp_path, DIGEST, ORIN, {"fp32": 3.0, "fp16": 1.5, "int8-trt": 2.0})
    assert list(kept.p50_ms) == ["fp16", "int8-trt", "fp32"]
    assert find_ranking(tmp_path, DIGEST, ORIN) == kept


def test_another_bundle_or_device_has_none(tmp_path: Path) -> None:
    keep_ranking(tmp_path, DIGEST, ORIN, {"fp32": 3.0})
    assert find_ranking(tmp_path, "cd" * 32, ORIN) is None
    assert find_ranking(tmp_path, DIGEST[:-1] + "0", ORIN) is None  # the same file name
    assert find_ranking(tmp_path, DIGEST, ORIN.model_copy(update={"tensorrt": "10.4.0"})) is None


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}', "\x00", '{"p50_ms": {"a": NaN}}'])
def test_a_file_that_is_not_valid_is_none(tmp_path: Path, text: str) -> None:
    keep_ranking(tmp_path, DIGEST, ORIN, {"fp32": 3.0})
    next((tmp_path / "rankings").iterdir()).write_text(text)
    assert find_ranking(tmp_path, DIGEST, ORIN) is None


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "rankings").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        keep_ranking(tmp_path, DIGEST, ORIN, {"fp32": 3.0})
