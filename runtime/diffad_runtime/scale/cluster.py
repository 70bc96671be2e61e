"""The Ray cluster of a job: one that runs already, or one on this machine that ends with the job.

Knows ray.init and what a cluster has. Does not know what runs on it.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from diffad_runtime.errors import InputError
from diffad_runtime.scale.packages import load_ray

_LONGEST_PATH: Final = 24
"""Of the folder for Ray's sockets, whose names must stay below 108 bytes; Ray adds 70 or so."""
_STORE_BYTES: Final = 128 << 20
"""Object store of a cluster of our own: names go in and rows come out."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker takes of a cluster: CPU cores, and GPUs, which may be parts of one."""

    cpus: int
    gpus: float = 0.0


@contextmanager
def connected(address: str | None, share: Share, workers: int | None) -> Iterator[int]:
    """Be connected to a cluster for the block; yields how many workers the job gets.

    Args:
        address: None: a cluster of this job's own, on this machine. "auto": the one that runs on this machine, or that
            RAY_ADDRESS names. HOST:PORT: another. Where this process is connected already, that one is used.
        share: of one worker.
        workers: None: as many as the cluster has room for.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: no cluster there, or no room in it for the workers.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield _room(ray, share, workers)
        return
    if address is not None and address.startswith("ray://"):
        raise InputError(
            f"{address} is Ray's client port, which Ray Data does not work over",
            mend="Start the command on a machine of the cluster, with --ray auto",
        )
    # Nothing of a production line leaves it unless somebody says so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    folder = None
    try:
        if address is None:
            folder = _short_folder()
            ray.init(
                address="local",
                num_cpus=share.cpus * (workers or max(1, _cores() // share.cpus)),
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=folder,
                **quiet,
            )
        else:
            _connect(ray, address, quiet)
        try:
            yield _room(ray, share, workers)
        finally:
            ray.shutdown()
    finally:
        if folder is not None:  # logs of a cluster that is no more
            shutil.rmtree(folder, ignore_errors=True)


def _connect(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise InputError(
            f"no Ray cluster at {address}: {' '.join(str(error).split())[:200]}",
            mend="Start one with 'ray start --head', name its HOST:PORT, or leave the address out",
        ) from error


def _room(ray: Any, share: Share, workers: int | None) -> int:
    has = ray.cluster_resources()
    cpus, gpus = has.get("CPU", 0.0), has.get("GPU", 0.0)
    most = int(cpus // share.cpus)
    if share.gpus > 0:
        most = min(most, int(gpus / share.gpus + 1e-9))
    if most < (workers or 1):
        raise InputError(
            f"the cluster has {cpus:g} cores and {gpus:g} GPUs, room for {most} workers of {share.cpus} cores and "
            f"{share.gpus:g} GPUs, expected {workers or 1}",
            mend="Ask for fewer workers or fewer threads, or add machines",
        )
    return workers or most


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _short_folder() -> str:
    base = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="ray-", dir=base if len(base) <= _LONGEST_PATH else "/tmp")
