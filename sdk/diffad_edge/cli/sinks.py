"""From the output options to open sinks.

Knows which option makes which sink. Does not know what a sink writes.
"""

from contextlib import ExitStack
from pathlib import Path

from diffad_runtime.sinks import JsonlSink, MaskSink, RawSink, Sink, open_overlay


def open_sinks(
    *,
    masks: Path | None = None,
    results: Path | None = None,
    overlay: Path | None = None,
    raw: Path | None = None,
    fps: float | None = None,
) -> list[Sink]:
    """Open what is not None; the caller closes. Where one cannot be opened, those before it are closed again.

    Raises:
        InputError: a place that cannot be written to.
    """
    sinks: list[Sink] = []
    with ExitStack() as opened:
        mask_sink = MaskSink(masks) if masks else None
        if mask_sink:
            sinks.append(opened.enter_context(mask_sink))
        if results:
            sinks.append(opened.enter_context(JsonlSink(results, mask_sink)))
        if overlay:
            sinks.append(opened.enter_context(open_overlay(overlay, fps)))
        if raw:
            sinks.append(opened.enter_context(RawSink(raw)))
        opened.pop_all()
    return sinks
