"""Scores images on a Triton server, with the verdicts of `diffad-edge score`.

    pip install diffad-edge 'tritonclient[http]'
    python client/score.py IMAGES --url localhost:8000 [--masks DIR]

Lies in the model repository, beside the bundle's manifest and what was made of it. Only the two graphs run on the
server: frames are resized, maps thresholded and scored here, by the same code that runs beside the line. A server that
holds another bundle is refused.
"""

import argparse
import hashlib
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from diffad_runtime.engines.base import Engine, Ran
from diffad_runtime.errors import BundleError, DiffadError, EngineError, InputError, MissingExtraError
from diffad_runtime.imagefile import list_images, read_image
from diffad_runtime.inspector import Inspector
from diffad_runtime.manifest import Manifest
from diffad_runtime.result import Frame, Image, Verdict
from diffad_runtime.rules import DecisionRules
from diffad_runtime.sinks import MaskSink

REPOSITORY = Path(__file__).resolve().parent.parent
MARK = "diffad-triton.json"
_WANTED = ("anomaly_map", "feature_score")  # what an engine must give
_CHECK_SERVER = "Check that the server runs, and that its log calls all three models READY"


@dataclass(frozen=True, slots=True)
class Served:
    """What a server is expected to hold.

    Attributes:
        model: the ensemble.
        variant: of the bundle.
        digest: SHA-256 of the bundle's manifest.
        manifest: of the bundle.
    """

    model: str
    variant: str
    digest: str
    manifest: Manifest

    @classmethod
    def read(cls, repository: Path = REPOSITORY) -> "Served":
        """From the files of a model repository.

        Raises:
            InputError: they are not there, or not as they were written.
        """
        try:
            mark = json.loads((repository / MARK).read_bytes())
            manifest = (repository / "manifest.json").read_bytes()
            digest = hashlib.sha256(manifest).hexdigest()
            if digest != mark["digest"]:
                raise ValueError(f"manifest.json has the digest {digest[:12]}, expected {mark['digest'][:12]}")
            return cls(mark["model"], mark["variant"], digest, Manifest.model_validate_json(manifest, strict=True))
        except (OSError, ValueError, KeyError, TypeError) as error:  # pydantic's errors are ValueErrors
            raise InputError(
                f"{repository} is no model repository of diffad-edge: {' '.join(str(error).split())[:200]}",
                mend="Leave this file where 'diffad-edge export --triton' wrote it",
            ) from error


class TritonEngine(Engine):
    """Both graphs on a server, as one call of the ensemble.

    Args:
        url: HOST:PORT of the server's HTTP endpoint.
        served: what it must hold.
        timeout_s: of one call, and of connecting.

    Raises:
        MissingExtraError: tritonclient is not installed.
        EngineError: no server answers there, or not with this model.
        BundleError: the server's model was made of another bundle.
    """

    backend = "triton"

    def __init__(self, url: str, served: Served, *, timeout_s: float = 30.0) -> None:
        try:
            http: Any = import_module("tritonclient.http")  # has no types
        except (ImportError, RuntimeError) as error:  # RuntimeError: there, but without its HTTP part
            raise MissingExtraError("tritonclient[http]", extra="triton", purpose="asking a Triton server") from error
        self._http, self._model, self._where = http, served.model, f"model {served.model!r} at {url}"
        self.variant = served.variant
        self.input_size = served.manifest.input_size
        self._client: Any = http.InferenceServerClient(url, connection_timeout=timeout_s, network_timeout=timeout_s)
        try:
            parameters = self._call("get_model_config", served.model).get("parameters", {})
        except DiffadError:
            self.close()
            raise
        there = parameters.get("bundle_digest", {}).get("string_value", "")
        if there != served.digest:
            self.close()
            raise BundleError(
                f"{self._where} was made of the bundle {there[:12] or 'unknown'}, expected {served.digest[:12]}",
                mend="Use the client that lies in the server's own model repository",
            )

    def close(self) -> None:
        self._client.close()

    def _infer(self, image: Image) -> Ran:
        start = time.perf_counter()
        tensor = self._http.InferInput("image", list(image.shape), "UINT8")
        tensor.set_data_from_numpy(image)
        outputs = [self._http.InferRequestedOutput(name) for name in _WANTED]
        answer = self._call("infer", self._model, [tensor], outputs=outputs)
        # Fresh arrays: what the client library gives are views of the answer's bytes.
        maps = {name: np.array(answer.as_numpy(name), np.float32) for name in _WANTED}
        return Ran(maps, 0.0, 1e3 * (time.perf_counter() - start))

    def _call(self, what: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._client, what)(*arguments, **options)
        except Exception as error:  # of three libraries below, without a base of their own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise EngineError(f"{self._where}: {reason[:300]}", mend=_CHECK_SERVER) from error


def open_inspector(url: str, repository: Path = REPOSITORY) -> Inspector:
    """An Inspector whose graphs run on a server.

    Raises:
        DiffadError: as Served.read and TritonEngine.
    """
    served = Served.read(repository)
    rules = DecisionRules.of(served.manifest)
    return Inspector(TritonEngine(url, served), rules, bundle_digest=served.digest, manifest=served.manifest)


def main(arguments: list[str] | None = None) -> int:
    """Print one line an image: verdict, score, path. 1 where one could not be judged, 2 where the server cannot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder of images, also in folders below")
    parser.add_argument("--url", default="localhost:8000", help="HOST:PORT of the server's HTTP endpoint")
    parser.add_argument("--masks", type=Path, help="folder for masks, one PNG an image")
    given = parser.parse_args(arguments)
    failed = False
    try:
        with ExitStack() as opened:
            paths = list_images(given.images, recursive=True)
            inspector = opened.enter_context(open_inspector(given.url))
            masks = opened.enter_context(MaskSink(given.masks)) if given.masks else None
            for number, path in enumerate(paths):
                name = path.relative_to(given.images).as_posix()
                now = datetime.now(timezone.utc)
                try:
                    frame = Frame(read_image(path), number, time.monotonic(), now, name=name)
                    result = inspector.judge(frame)
                    if masks is not None:
                        masks.write(frame, result)
                    failed |= result.verdict is Verdict.ERROR
                    print(f"{result.verdict.value}\t{result.score!r}\t{name}\t{result.error}".rstrip("\t"))
                except DiffadError as error:  # one bad file, or a place that cannot be written to
                    failed = True
                    print(f"ERROR\tnan\t{name}\t{error}")
    except DiffadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
