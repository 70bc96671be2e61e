"""Scores a folder on a Ray cluster: `score_on_ray`.

Knows the order of steps. Ray Data schedules the batches, repeats those of a worker that died, and holds back what the
driver has not taken; nothing of that is here.

What must be the same path on all machines: the images' folder and OUT. The bundle is verified by the driver and copied
into OUT, and each worker verifies it again and computes its digest.
"""

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.engines.choice import check_backend
from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.result import Verdict
from diffad_runtime.scale.cluster import Share, connected
from diffad_runtime.scale.listing import Item, listing
from diffad_runtime.scale.outfolder import TABLE, Judge, OutFolder
from diffad_runtime.scale.packages import load_arrow, load_ray
from diffad_runtime.scale.rows import received
from diffad_runtime.scale.worker import Probe, Scorer, Task, probe, release

BATCH: Final = 16
"""Images to a batch: what is done again when a worker dies."""
_IN_FLIGHT = 2  # batches with a worker, so that it never waits for the next
_MOST_PROBLEMS = 20
_ON_GPU = {"tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt"}


@dataclass(frozen=True, slots=True)
class RaySummary:
    """What a job came to.

    Attributes:
        images: in the folder.
        scored: in this call; `kept`: done by an earlier one.
        ng, errors: of all rows in the table.
        seconds: from the first batch handed out to the last row, the start of the workers among them;
            images_per_second: scored, over these.
        workers: asked for, or as many as there was room for.
        retried: batches that were begun again, as a worker died.
        problems: "NAME: why" of rows that are ERROR, the first 20.
        backend, variant, bundle_digest: who judged.
        results: the table, OUT/results.parquet.
        interrupted: by Ctrl-C; the table has what was done until then.
    """

    images: int
    scored: int
    kept: int
    ng: int
    errors: int
    seconds: float
    images_per_second: float
    workers: int
    retried: int
    backend: str
    variant: str
    bundle_digest: str
    results: Path
    interrupted: bool = False
    problems: list[str] = field(default_factory=list)


def score_on_ray(
    model: str | Path,
    folder: str | Path,
    out: str | Path,
    *,
    address: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    gpus: float | None = None,
    backend: str = "auto",
    variant: str | None = None,
    batch: int = BATCH,
    raw: bool = False,
    progress: Callable[[int, int], None] | None = None,
    worker: type[Scorer] = Scorer,
) -> RaySummary:
    """Judge all images of a folder, and write masks as `diffad-edge score` does and one table of results.

    An image that cannot be read or judged is a row with the verdict ERROR and a reason. Images whose row and files are
    in OUT, of the same bundle, variant and backend, are not scored again; rows of ERROR are. Called again after any
    end, it goes on with what is left.

    Args:
        model: NAME.diffad.
        folder: of images, also in folders below; the same path on all machines.
        out: gets results.parquet (scale/rows.py), masks/ and raw/; the same path on all machines.
        address: of the cluster, as cluster.connected.
        workers: None: as many as there is room for.
        threads: CPU cores of each worker.
        gpus: of each worker, or a part of one; None: 1 for a backend that needs one, else 0, and then Ray hides GPUs.
        backend, variant: as Inspector.open; the first worker settles what "auto" and None come to, for all of them.
        batch: images handed out at once.
        raw: also write maps, as raw/<relative path>.npy.
        progress: called with images done and images in all.
        worker: for tests.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: a folder, bundle, address or number that cannot be used; another job runs on OUT.
        EngineError: a worker cannot work, or Ray gave up. What was done until then is in the table.
    """
    ray = load_ray()
    for name, number in (("workers", workers), ("threads", threads), ("batch", batch)):
        if number is not None and number < 1:
            raise InputError(f"{name} must be 1 or more, got {number}", mend="Give 1 or more")
    check_backend(backend)
    bundle = open_bundle(model)
    if variant is not None:
        bundle.variant(variant)
    folder = Path(os.path.realpath(folder))
    items = listing(folder)
    share = Share(threads, gpus if gpus is not None else float(backend in _ON_GPU))
    with OutFolder(Path(out)) as place:
        with connected(address, share, workers) as count:
            place.announce(bundle)
            task = _task(bundle, folder, place, backend, variant, threads, raw=raw)
            found = _probed(ray, task, share)
            task = replace(task, backend=found.backend, variant=found.variant)
            left = place.begin(items, Judge(bundle.digest, found.variant, found.backend), raw=raw)
            run = _Run(place, len(items), len(items) - len(left), progress)
            if left:
                run.consume(lambda: _tables(ray, left, batch, count, share, worker, task))
            table = place.finish()
        # The workers are gone, so what they left half written can go, too.
        if run.retried or run.interrupted:
            place.sweep()
        if not run.interrupted:
            place.clear()
    return _summary(table, run, count, task, len(items), place)


class _Run:
    """Takes what workers give and puts it into OUT."""

    def __init__(self, place: OutFolder, total: int, kept: int, progress: Callable[[int, int], None] | None) -> None:
        self._place, self._total, self._progress = place, total, progress
        self.kept, self.scored, self.retried = kept, 0, 0
        self.seconds = 0.0
        self.interrupted = False

    def consume(self, tables: Callable[[], Generator[Any, None, None]]) -> None:
        """All of them, or until Ctrl-C."""
        start = time.perf_counter()
        try:
            self._tell()
            with closing(tables()) as taken:
                for table in taken:
                    rows, attempts, fatal = received(table)
                    if fatal:
                        raise EngineError(fatal, mend="Mend it and start again: what is done is kept")
                    self._place.add(rows)
                    self.scored += rows.num_rows
                    self.retried += attempts > 0
                    self._tell()
        except KeyboardInterrupt:
            self.interrupted = True
        except EngineError:
            self._place.finish()
            raise
        finally:
            self.seconds = time.perf_counter() - start

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.kept + self.scored, self._total)


def _task(
    bundle: Bundle, folder: Path, place: OutFolder, backend: str, variant: str | None, threads: int, *, raw: bool
) -> Task:
    return Task(
        folder=str(folder),
        out=str(place.path),
        token=place.token,
        digest=bundle.digest,
        release=release(),
        backend=backend,
        variant=variant,
        threads=threads,
        raw=raw,
    )


def _probed(ray: Any, task: Task, share: Share) -> Probe:
    remote = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus)(probe)
    with _told():
        found: Probe = ray.get(remote.remote(task))
    if found.error:
        raise EngineError(found.error, mend=found.mend)
    return found


def _tables(
    ray: Any, items: list[Item], batch: int, workers: int, share: Share, worker: type[Scorer], task: Task
) -> Generator[Any, None, None]:
    """What workers give, as it comes."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with ray.data.DataContext.current(context), _told():
            count = -(-len(items) // batch)
            rows = ray.data.from_items([item.plain() for item in items], override_num_blocks=count)
            results = rows.map_batches(
                worker,
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(workers, count), max_tasks_in_flight_per_actor=_IN_FLIGHT),
                fn_constructor_args=(task,),
                num_cpus=share.cpus,
                num_gpus=share.gpus,
            )
            yield from results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
    finally:
        log.setLevel(level)


@contextmanager
def _told() -> Iterator[None]:
    """What Ray raises in one line. Only its own code runs inside: workers do not raise."""
    try:
        yield
    except Exception as error:  # several trees of exceptions, and plain ones
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise EngineError(f"Ray gave up: {lines[-1][:300]}", mend="See Ray's logs; what is done is kept") from error


def _summary(table: Any, run: _Run, workers: int, task: Task, images: int, place: OutFolder) -> RaySummary:
    compute = load_arrow().compute
    verdicts = table.column("verdict")
    failed = table.filter(compute.equal(verdicts, Verdict.ERROR.value))
    names, reasons = (failed.column(name)[:_MOST_PROBLEMS].to_pylist() for name in ("name", "error"))
    return RaySummary(
        images=images,
        scored=run.scored,
        kept=run.kept,
        ng=compute.sum(compute.equal(verdicts, Verdict.NG.value)).as_py() or 0,
        errors=failed.num_rows,
        seconds=run.seconds,
        images_per_second=run.scored / run.seconds if run.seconds > 0 else 0.0,
        workers=workers,
        retried=run.retried,
        backend=task.backend,
        variant=task.variant or "",
        bundle_digest=task.digest,
        results=place.path / TABLE,
        interrupted=run.interrupted,
        problems=[f"{name}: {reason}" for name, reason in zip(names, reasons, strict=True)],
    )
