"""The same frame gives the same map, bit for bit: 1,000 frames twice, whatever was judged in between."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from diffad_export.recipe import ExportSummary
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import Image
from diffad_runtime.synthetic import LineConfig, SyntheticLine

FRAMES, SIZE, DIFFERENT = 1000, 64, 20


@pytest.fixture(scope="module")
def frames() -> list[Image]:
    """All different: pictures of the line, shifted, and some noise on them."""
    rng = np.random.default_rng(0)
    line = SyntheticLine(LineConfig(size=SIZE))
    parts = [line.frame(i).image + rng.integers(0, 9, (SIZE, SIZE, 3), dtype=np.uint8) for i in range(DIFFERENT)]
    shown = [np.roll(parts[i % DIFFERENT], (i // DIFFERENT, 3 * i), (0, 1)) for i in range(FRAMES)]
    assert len({one.tobytes() for one in shown}) == FRAMES
    return shown


def judged(bundle: Path, variant: str, frames: list[Image], order: range) -> dict[int, str]:
    """Digest of everything that is said about each frame, by its number."""
    said = dict[int, str]()
    with Inspector.open(bundle, variant=variant, threads=1) as inspector:
        for i in order:
            result = inspector.inspect(frames[i])
            digest = hashlib.sha256(result.anomaly_map.tobytes())
            digest.update(result.mask.tobytes())
            digest.update(f"{result.score!r} {result.verdict.value}".encode())
            said[i] = digest.hexdigest()
    return said


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_thousand_frames_twice(variant: str, tiny_export: ExportSummary, frames: list[Image]) -> None:
    first = judged(tiny_export.bundle, variant, frames, range(FRAMES))
    second = judged(tiny_export.bundle, variant, frames, range(FRAMES - 1, -1, -1))
    assert len(set(first.values())) > 0.99 * FRAMES  # they are told apart
    assert [i for i in range(FRAMES) if first[i] != second[i]] == []
