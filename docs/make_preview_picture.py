"""The picture of docs/preview.md: the page beside a run on the synthetic line, as Chromium shows it.

    python docs/make_preview_picture.py model.diffad docs/images/preview.png [--size 1280x800] [--scheme dark]

Needs Debian's chromium and the package playwright.
"""

import argparse
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diffad_runtime import Inspector
from diffad_runtime.imagefile import write_png
from diffad_runtime.monitor import Monitor
from diffad_runtime.pipeline import run_stream
from diffad_runtime.preview import About, open_preview
from diffad_runtime.sinks import JsonlSink, MaskSink
from diffad_runtime.sources import open_source

CAMERA = "synthetic://line?fps=15&defects=0.3"


def photograph(url: str, size: tuple[int, int], scheme: str, seconds: float) -> bytes:
    """The page when it has been open for so long and shows a part that is NG, PNG."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(url)
        page.wait_for_timeout(1e3 * seconds)
        for _ in range(100):
            taken = page.screenshot()
            if page.inner_text("#caption").startswith("NG"):
                break
        browser.close()
        return bytes(taken)


def main(arguments: list[str]) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--camera", default=CAMERA)
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--scheme", default="dark", choices=["dark", "light"])
    parser.add_argument("--seconds", type=float, default=25.0)
    given = parser.parse_args(arguments)
    width, height = map(int, given.size.split("x"))
    given.model, given.picture = Path(given.model).resolve(), given.picture.resolve()
    taken: dict[str, Any] = {}
    with (
        Inspector.open(given.model) as inspector,
        open_source(given.camera) as source,
        tempfile.TemporaryDirectory() as out,
    ):
        os.chdir(out)  # outputs are named by their paths
        monitor, stop = Monitor(inspector, source), threading.Event()
        assert inspector.manifest is not None
        about = About(inspector.manifest.model_id, inspector.manifest.version, "Line 2, flange inspection", source.uri)
        with open_preview(monitor.snapshot, "127.0.0.1:0", about=about) as preview:

            def photographed() -> None:
                try:
                    taken["png"] = photograph(preview.url, (width, height), given.scheme, given.seconds)
                finally:
                    stop.set()

            photographer = threading.Thread(target=photographed)
            photographer.start()
            sinks = [JsonlSink("results.jsonl"), MaskSink("masks", live=True), preview.sink]
            run_stream(inspector, source, sinks, stop=stop, monitor=monitor)
            photographer.join()
    image = cv2.imdecode(np.frombuffer(taken["png"], np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    write_png(given.picture, np.asarray(image, np.uint8))
    print(f"{given.picture}: {given.picture.stat().st_size // 1024} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
