"""The picture of docs/preview.md: the page beside a run on the synthetic line, as Chromium shows it.

    python docs/make_preview_picture.py model.diffad docs/images/preview.png [--size 1280x800] [--scheme dark]

Needs Debian's chromium and the package playwright.
"""

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from diffad_runtime import Inspector
from diffad_runtime.atomic import replacing
from diffad_runtime.monitor import Monitor
from diffad_runtime.pipeline import run_stream
from diffad_runtime.preview import About, open_preview
from diffad_runtime.sinks import JsonlSink, MaskSink
from diffad_runtime.sources import open_source

CAMERA = "synthetic://line?fps=15&defects=0.3"
_REJECTS = 6
_COLOURS = ((0, 158, 115), (213, 94, 0), (240, 228, 66), (86, 180, 233), (0, 114, 178), (47, 211, 161), (255, 255, 255))


def photograph(url: str, size: tuple[int, int], scheme: str, seconds: int) -> bytes:
    """The page when it has a row of rejects and shows another one, or has been open for so long; PNG."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # type: ignore[arg-type]
        armed = chosen = False

        def pass_on(route: Any) -> None:
            """Hand views through until one shows a part to remember; the next one waits until the picture is taken."""
            nonlocal chosen
            if chosen:
                return
            answer = route.fetch()
            body = answer.body()
            route.fulfill(response=answer, body=body)
            newest = json.loads(body[4 : 4 + int.from_bytes(body[:4], "big")])["newest"]
            chosen = armed and newest["verdict"] == "NG" and newest["score"] > 1.3 * newest["threshold"]

        page.route("**/view?*", pass_on)
        page.goto(url)
        for _ in range(10 * seconds):
            page.wait_for_timeout(100)
            armed = armed or page.locator("#rejects-list canvas").count() >= _REJECTS
            if chosen:
                break
        page.wait_for_timeout(300)
        taken = page.screenshot()
        page.unroute_all(behavior="ignoreErrors")
        browser.close()
        return bytes(taken)


def _in_256_colours(picture: Image.Image) -> Image.Image:
    """A third of the bytes. The page's own colours are given: they cover too little to be found."""
    found = picture.quantize(256 - len(_COLOURS)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*found[: 3 * (256 - len(_COLOURS))], *(value for colour in _COLOURS for value in colour)])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def main(arguments: list[str]) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--camera", default=CAMERA)
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--scheme", default="dark", choices=["dark", "light"])
    parser.add_argument("--seconds", type=int, default=180)
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
    with replacing(given.picture) as temporary:
        _in_256_colours(Image.open(io.BytesIO(taken["png"])).convert("RGB")).save(temporary, optimize=True)
    print(f"{given.picture}: {given.picture.stat().st_size // 1024} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
