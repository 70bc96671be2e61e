"""From the output options to open sinks.

Knows which option makes which sink. Does not know what a sink writes.
"""

from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from diffad_runtime.archive.sink import RETENTION, ImageArchive
from diffad_runtime.sinks import JsonlSink, MaskSink, RawSink, Sink, open_overlay
from diffad_runtime.sinks.linefile import Rotation
from diffad_runtime.sources import Source


def open_sinks(
    *,
    masks: Path | None = None,
    results: Path | None = None,
    overlay: Path | None = None,
    raw: Path | None = None,
    rle: bool = False,
    archive: Sink | None = None,
    source: Source | None = None,
) -> list[Sink]:
    """Open what is not None; the caller closes. Where one cannot be opened, those before it are closed again.

    Args:
        masks, results, overlay, raw: where to.
        rle: have masks in the lines of results, too.
        archive: opened already.
        source: of a run. A camera's files are appended to, put aside and bounded, as it has no end. None: a folder is
            scored, and what is written is of this run alone.

    Raises:
        InputError: a place that cannot be written to.
    """
    sinks: list[Sink] = []
    live = source is not None and source.live
    with ExitStack() as opened:
        if archive:
            sinks.append(opened.enter_context(archive))
        mask_sink = MaskSink(masks, live=live) if masks else None
        if mask_sink:
            sinks.append(opened.enter_context(mask_sink))
        if results:
            rotation = Rotation() if live else None
            sinks.append(
                opened.enter_context(
                    JsonlSink(results, "rle" if rle else mask_sink, rotation=rotation, overwrite=source is None)
                )
            )
        if overlay:
            sinks.append(opened.enter_context(open_overlay(overlay, source.fps_hint if source else None, live=live)))
        if raw:
            sinks.append(opened.enter_context(RawSink(raw)))
        opened.pop_all()
    return sinks


def archive_of(folder: Path | None, keep_ok: int, gigabytes: float, days: float) -> ImageArchive | None:
    """The archive, None without a folder.

    Raises:
        InputError: a folder that cannot be written to.
    """
    if folder is None:
        return None
    retention = replace(RETENTION, max_bytes=int(1e9 * gigabytes), max_age=timedelta(days=days))
    return ImageArchive(folder, keep_ok=keep_ok, retention=retention)
