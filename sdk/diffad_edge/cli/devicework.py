"""Engines that are built on this device, as a command shows it: a bar, lines on stderr.

Knows the options that commands share. Does not know TensorRT, nor when anything is built.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffad_edge.cli.output import note
from diffad_edge.cli.status import Parts
from diffad_runtime.engines.ondevice import OnDevice, Watcher


@contextmanager
def on_device(
    cache: Path | None = None,
    *,
    optimisation_level: int | None = None,
    workspace_mb: int | None = None,
    rebuild: bool = False,
) -> Iterator[OnDevice]:
    """What `open_engine` is told, its watcher on this terminal. The bar goes when the block ends."""
    with Parts() as parts:
        yield OnDevice(
            cache=cache,
            optimisation_level=optimisation_level,
            workspace_mb=workspace_mb,
            rebuild=rebuild,
            watcher=Watcher(note=note, warn=lambda line: note(f"warning: {line}"), progress=parts.update),
        )
