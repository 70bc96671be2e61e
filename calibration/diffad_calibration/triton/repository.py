"""Writes a bundle's variant as a Triton model repository: a folder that is whole or not there.

Knows which files lie where, and which folder may be replaced. Does not know Triton's fields (config.py).

    DIR/models/NAME/config.pbtxt                      the ensemble, with an empty folder for its version
    DIR/models/NAME_extractor/config.pbtxt            and VERSION/model.onnx, bytes as in the bundle
    DIR/models/NAME_reconstructor/config.pbtxt        and VERSION/model.onnx
    DIR/client/score.py, DIR/README.md, DIR/manifest.json
    DIR/diffad-triton.json                            the mark of a folder of ours, and the list of its files

A server takes every folder of its model repository for a model, so the models have a folder to themselves.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from diffad_calibration.triton import client
from diffad_calibration.triton.config import (
    EXTRACTOR,
    GRAPH_FILE,
    RECONSTRUCTOR,
    Placement,
    ensemble_config,
    facts_of,
    graph_config,
    member_name,
)
from diffad_calibration.triton.pbtxt import text_of
from diffad_calibration.triton.readme import readme_of
from diffad_calibration.triton.tensors import check_pair, tensors_of
from diffad_runtime.bundle import Bundle
from diffad_runtime.bundle.container import MANIFEST
from diffad_runtime.engines.choice import ladder
from diffad_runtime.engines.select import check_made_for
from diffad_runtime.errors import InputError

MARK: Final = client.MARK
MODELS, CLIENT, CONFIG, README = "models", "client/score.py", "config.pbtxt", "README.md"

_FORM: Final = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_KEPT_EMPTY = ".keep"
"""Git and object stores keep no empty folders, and an ensemble without a version folder is not loaded."""
_BACKENDS = {"cpu": "onnxruntime", "gpu": "onnxruntime-cuda"}


@dataclass(frozen=True, slots=True)
class TritonRepository:
    """What was written.

    Attributes:
        folder: the repository; `folder/models` is what a server is given.
        name: of the ensemble.
        variant: of the bundle.
        version: of the bundle, the number of the version folders.
        files: all of it, relative to the folder, sorted.
    """

    folder: Path
    name: str
    variant: str
    version: int
    files: tuple[str, ...]


def write_repository(
    bundle: Bundle,
    folder: str | Path,
    *,
    variant: str | None = None,
    name: str | None = None,
    placement: Placement | None = None,
) -> TritonRepository:
    """Write a model repository for one variant of a bundle.

    The folder is written under a temporary name beside its own and then renamed. One that an earlier call wrote is
    replaced; killed between the two renames of that, it leaves the older one beside, as .NAME.XXXX.old. A server that
    runs on it should be told to load the models again.

    Args:
        bundle: opened.
        folder: made, with those above it; empty, or of an earlier call.
        variant: None: the one that `diffad-edge score` tries first on ONNX Runtime, on a CPU or with CUDA.
        name: of the ensemble; letters, digits and _.-, at most 100. None: of the bundle's model id.
        placement: None: on the CPU, one instance of each graph.

    Raises:
        InputError: unknown variant or one that ONNX Runtime does not run there; a bad name; the folder holds something
            that no earlier call wrote; the disk refused.
        EngineError: the graphs are not what a bundle's graphs are.
    """
    placement = placement or Placement()
    backend = _BACKENDS[placement.kind]
    variant = ladder(bundle, backend)[0] if variant is None else variant
    check_made_for(bundle, backend, variant)
    name = _name(bundle.manifest.model_id, name)
    files = _files(bundle, variant, name, placement)
    folder = Path(os.path.realpath(folder))
    _check_ours(folder)
    try:
        _replace(folder, files)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}", mend="Check the folder, its permissions and free space"
        ) from error
    return TritonRepository(folder, name, variant, bundle.manifest.version, tuple(sorted(files)))


def _files(bundle: Bundle, variant: str, name: str, placement: Placement) -> dict[str, bytes]:
    """Contents by path."""
    graphs = dict(zip((EXTRACTOR, RECONSTRUCTOR), bundle.graphs(variant), strict=True))
    manifest, version = bundle.manifest, bundle.manifest.version
    tensors = {graph: tensors_of(data, graph) for graph, data in graphs.items()}
    pair = (tensors[EXTRACTOR], tensors[RECONSTRUCTOR])
    check_pair(*pair, input_size=manifest.input_size, variant=variant)
    facts = facts_of(manifest, bundle.digest, variant)
    files = {
        f"{MODELS}/{name}/{CONFIG}": text_of(ensemble_config(name, *pair, facts)).encode(),
        f"{MODELS}/{name}/{version}/{_KEPT_EMPTY}": b"",
    }
    for graph, data in graphs.items():
        place = f"{MODELS}/{member_name(name, graph)}"
        files[f"{place}/{CONFIG}"] = text_of(graph_config(name, graph, tensors[graph], placement, facts)).encode()
        files[f"{place}/{version}/{GRAPH_FILE}"] = data
    files[README] = readme_of(manifest, facts, name, pair, placement).encode()
    files[CLIENT] = Path(client.__file__).read_bytes()
    files[MANIFEST] = bytes(bundle.whole()[MANIFEST])
    mark = {
        "form": _FORM,
        "model": name,
        "variant": variant,
        "digest": bundle.digest,
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())},
    }
    files[MARK] = json.dumps(mark, indent=2).encode() + b"\n"
    return files


def _name(model_id: str, name: str | None) -> str:
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", model_id).strip("_.-")[:100] or "diffad"
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be a model's name", mend="Use letters, digits, _ . and -, at most 100, a letter first"
        )
    return name


def _check_ours(folder: Path) -> None:
    """Nothing there, an empty folder, or one of ours in which nobody put anything else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder", mend="Name a folder")
    found = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    found = {path for path in found if "__pycache__/" not in path}
    if not found and not any(folder.iterdir()):
        return
    try:
        listed = set(json.loads((folder / MARK).read_bytes())["files"]) | {MARK}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is not empty, and no model repository that 'diffad-edge export --triton' wrote",
            mend="Name another folder, or empty this one",
        ) from error
    if foreign := sorted(found - listed):
        raise InputError(
            f"{folder} holds {foreign[0]!r}, which was not written with it ({len(foreign)} such files), "
            "and would be lost",
            mend="Move what is yours away, or name another folder",
        )


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    old = temporary.with_suffix(".old")
    try:
        for path, data in files.items():
            _write(temporary / path, data)
        if folder.exists():
            folder.rename(old)
        try:
            temporary.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """A name lasts over a power cut once its folder is on the disk."""
    with suppress(OSError):  # file systems that cannot
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
