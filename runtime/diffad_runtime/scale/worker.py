"""What runs on a worker: one Inspector, batches of images in, masks on the shared disk and rows out.

Knows how an image is read, judged and written. Does not know Ray, and never raises: errors of this distribution do not
survive the way to another process, so they go as text.
"""

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from diffad_runtime.errors import BundleError, DiffadError, EngineError, ImageError, InputError
from diffad_runtime.imagefile import read_image
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import ErrorCode, Frame, Result, Verdict
from diffad_runtime.scale.attempts import MOST, Attempt
from diffad_runtime.scale.listing import Item
from diffad_runtime.scale.outfolder import ATTEMPTS, BUNDLE, MASKS, RAW, TOKEN, WORK
from diffad_runtime.scale.rows import row_of, sent, sent_fatal
from diffad_runtime.sinks import MaskSink, RawSink, Sink

_MOST_FAILURES: Final = 100  # engine errors in a row, as in pipeline.py


@dataclass(frozen=True, slots=True)
class Task:
    """What all workers of a job are told.

    Attributes:
        folder, out: absolute, and the same on all machines.
        token: lies in OUT; a worker whose OUT is another folder does not find it.
        digest: the bundle's, which each worker computes again from what it reads.
        release: of diffad-edge, the same everywhere.
        backend, variant: as Inspector.open; variant None: the probe says which.
        threads: of a worker.
        raw: write maps, too.
    """

    folder: str
    out: str
    token: str
    digest: str
    release: str
    backend: str
    variant: str | None
    threads: int
    raw: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """What the first look at a worker gave; `error` is "" where it can work."""

    backend: str = ""
    variant: str = ""
    error: str = ""
    mend: str = ""


def release() -> str:
    """The version of diffad-edge that is installed here."""
    try:
        return version("diffad-edge")
    except PackageNotFoundError:  # run from its sources
        return "unknown"


def probe(task: Task) -> Probe:
    """Open an Inspector, say which engine judges, close it again. Runs on a worker, before the job."""
    try:
        with open_inspector(task) as inspector:
            return Probe(inspector.engine.backend, inspector.engine.variant)
    except DiffadError as error:
        return Probe(error=_said(error.what), mend=error.mend)
    except Exception as error:  # whatever it is, the command tells it in one line
        return Probe(error=_said(f"{type(error).__name__}: {error}"), mend="See Ray's logs")


def open_inspector(task: Task) -> Inspector:
    """As Inspector.open; what a job takes for granted is checked on the way.

    Raises:
        InputError: another release, or folders that are not the job's.
        BundleError: not the job's bundle.
        DiffadError: as Inspector.open.
    """
    if release() != task.release:
        raise InputError(
            f"diffad-edge {release()} is installed, the job was started by {task.release}",
            mend="Install the same release on all machines",
        )
    if not Path(task.folder).is_dir():
        raise InputError(f"there is no folder {task.folder}", mend="Mount the images at the same path on all machines")
    work = Path(task.out) / WORK
    if _text(work / TOKEN) != task.token:
        raise InputError(
            f"{task.out} is not the folder that the job writes to",
            mend="Mount the output folder at the same path on all machines",
        )
    inspector = Inspector.open(work / BUNDLE, task.backend, task.variant, task.threads)
    if inspector.bundle_digest != task.digest:
        inspector.close()
        raise BundleError(
            f"the bundle has the digest {inspector.bundle_digest[:12]}, expected {task.digest[:12]}",
            mend="Start the job again",
        )
    return inspector


class Scorer:
    """The actor's class: made once on each worker, called with one batch after the other.

    Args:
        task: of the job, with backend and variant as the probe said.
    """

    def __init__(self, task: Task) -> None:
        self._task, self._fatal = task, ""
        cv2.setNumThreads(task.threads)
        try:
            self._inspector = open_inspector(task)
            self._out = Path(task.out)
            self._masks = MaskSink(self._out / MASKS)
            self._sinks: list[Sink] = [self._masks, *([RawSink(self._out / RAW)] if task.raw else [])]
        except DiffadError as error:
            self._fatal = _said(error.what)

    def __call__(self, batch: Any) -> Any:
        """Score one batch.

        Args:
            batch: pyarrow.Table, a row for each Item.

        Returns:
            pyarrow.Table of rows.py, a row for each Item, or one that says why this worker cannot work.
        """
        if self._fatal:
            return sent_fatal(self._fatal)
        items = [Item(**row) for row in batch.to_pylist()]
        try:
            attempt = Attempt(self._out / WORK / ATTEMPTS / str(items[0].index))
            rows = [self._row(item, killer=attempt.killed_by(item.index)) for item in items]
            if self._inspector.failures >= _MOST_FAILURES:
                raise EngineError(f"the engine failed {self._inspector.failures} times in a row", mend="Start again")
            attempt.end()
        except (OSError, DiffadError) as error:
            return sent_fatal(_said(str(error)))
        return sent(rows, attempt.before)

    def _row(self, item: Item, *, killer: bool) -> dict[str, Any]:
        """Judge one image and write its files."""
        start = time.perf_counter()
        frame = _no_frame(item)
        if item.refused:
            return row_of(self._refused(frame, item.refused, start, ErrorCode.PICTURE), item, None)
        if killer:
            reason = f"{MOST} workers died at this image, and it is not looked at again. Look at it by itself."
            result = self._refused(frame, reason, start, ErrorCode.INTERNAL)
        else:
            try:
                image = read_image(Path(self._task.folder) / item.name)
                frame = replace(frame, image=image)
                result = self._inspector.judge(frame)
            except ImageError as error:
                result = self._refused(frame, str(error), start, ErrorCode.PICTURE)
        try:
            self._write(frame, result)
        except DiffadError as error:
            result = self._refused(frame, str(error), start, ErrorCode.INTERNAL)
            with suppress(DiffadError, OSError):  # no file of it may look like a judgement
                self._write(frame, result)
        path = None if result.verdict is Verdict.ERROR else self._masks.path_of(frame, result)
        return row_of(result, item, None if path is None else os.path.relpath(path, self._out))

    def _write(self, frame: Frame, result: Result) -> None:
        for sink in self._sinks:
            sink.write(frame, result)

    def _refused(self, frame: Frame, reason: str, start: float, code: ErrorCode) -> Result:
        return self._inspector.refused(frame, reason, elapsed_ms=1e3 * (time.perf_counter() - start), code=code)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _said(what: str) -> str:
    return f"worker on {socket.gethostname()}: {' '.join(what.split())}"


def _no_frame(item: Item) -> Frame:
    """An image's frame before it is read."""
    return Frame(
        np.zeros((1, 1, 3), np.uint8), item.index, time.monotonic(), datetime.now(timezone.utc), name=item.name
    )
