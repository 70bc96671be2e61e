"""Images a second: one process, and Ray with one worker and with two, over the same folder.

    python docs/time_ray.py MODEL.diffad [--images 300] [--size 512] [--variant int8] [--rounds 1]

Pictures of the synthetic line are written as PNG first, which is not timed. "one process" is what `diffad-edge score`
does: two judges over an engine on one thread, masks and results.jsonl. A Ray job runs on a cluster of its own on this
machine, one core to each worker. "all" is from the call to its return, with the start of cluster and engines; "steady"
is from the first rows to the last, without the images of the first batch. The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from diffad_runtime.imagefile import write_png
from diffad_runtime.inspector import Inspector
from diffad_runtime.pipeline import run_stream
from diffad_runtime.scale import score_on_ray
from diffad_runtime.sinks import JsonlSink, MaskSink
from diffad_runtime.sources import open_source
from diffad_runtime.synthetic import LineConfig, SyntheticLine


def one_process(model: str, variant: str, folder: Path, out: Path) -> dict[str, float]:
    """Images a second of score's own loop."""
    start = time.perf_counter()
    with Inspector.open(model, "onnxruntime", variant, 1) as inspector, open_source(str(folder)) as source:
        masks = MaskSink(out / "masks")
        summary = run_stream(inspector, source, [masks, JsonlSink(out / "results.jsonl", masks)])
    return {"steady": summary.frames_per_second, "all": summary.frames / (time.perf_counter() - start)}


def with_ray(model: str, variant: str, folder: Path, out: Path, workers: int) -> dict[str, float]:
    """Images a second of a job."""
    seen: list[tuple[float, int]] = []
    start = time.perf_counter()
    summary = score_on_ray(
        model,
        folder,
        out,
        workers=workers,
        backend="onnxruntime",
        variant=variant,
        progress=lambda done, _: seen.append((time.perf_counter(), done)),
    )
    whole = summary.images / (time.perf_counter() - start)
    (first, before), (last, after) = seen[1], seen[-1]
    return {"steady": (after - before) / (last - first), "all": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="side of the pictures, pixels")
    parser.add_argument("--variant", default="int8")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    line = SyntheticLine(LineConfig(size=given.size, defects=0.1))
    report: dict[str, list[dict[str, float]]] = {"one process": [], "1 worker": [], "2 workers": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        for number in range(given.images):
            write_png(folder / f"{number:06d}.png", line.frame(number).image)
        for turn in range(given.rounds):
            for name, found in report.items():
                out = Path(scratch) / f"{name} {turn}"
                if name == "one process":
                    found.append(one_process(given.model, given.variant, folder, out))
                else:
                    found.append(with_ray(given.model, given.variant, folder, out, int(name[0])))
                print(
                    f"{name:12s} steady {found[-1]['steady']:7.1f}   all {found[-1]['all']:7.1f} images/s", flush=True
                )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
