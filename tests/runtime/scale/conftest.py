"""Pictures for jobs, and what one process finds in them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffad_runtime.imagefile import write_png
from diffad_runtime.inspector import Inspector
from diffad_runtime.pipeline import run_stream
from diffad_runtime.result import Result
from diffad_runtime.sinks import CallbackSink, MaskSink, RawSink
from diffad_runtime.sources import open_source


@pytest.fixture(scope="session")
def pictures() -> Callable[[Path, int], Path]:
    """Write so many pictures into a folder: of four sizes, in three folders, every third with a patch; one is none."""

    def write(folder: Path, count: int) -> Path:
        for number in range(count):
            rng = np.random.default_rng(number)
            image = rng.integers(118, 139, (64 + 16 * (number % 4), 80, 3), dtype=np.uint8)
            if number % 3 == 0:
                image[20:45, 10 : 40 + number % 7] = 255 * (number % 2)
            write_png(folder / "abc"[number % 3] / f"{number:04d}.png", image)
        (folder / "b").mkdir(exist_ok=True)
        (folder / "b" / "broken.png").write_bytes(b"no picture")
        return folder

    return write


@pytest.fixture(scope="session")
def single() -> Callable[[Path, Path, Path], dict[str, Result]]:
    """What `diffad-edge score --raw` does, in this process: masks/ and raw/ in OUT; results by name."""

    def score(bundle: Path, folder: Path, out: Path) -> dict[str, Result]:
        results: dict[str, Result] = {}
        sinks = [MaskSink(out / "masks"), RawSink(out / "raw")]
        with Inspector.open(bundle, "onnxruntime", "int8", 1) as inspector, open_source(str(folder)) as source:
            keep = CallbackSink(lambda _, result: results.update({result.name: result}))
            run_stream(inspector, source, [*sinks, keep])
        return results

    return score
