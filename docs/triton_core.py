"""A model repository on a real Triton server, held against the Inspector: verdicts, scores, masks.

    pip download --no-deps nvidia-pytriton==0.7.0 && unzip nvidia_pytriton-*.whl -d SERVER
    pip install --target SITE 'numpy<2' onnxruntime          # for the server's own Python, not for this one
    python docs/triton_core.py MODEL.diffad IMAGES --server SERVER --site SITE [--variant int8]

That wheel holds Triton's server with its backend for Python models, but none for ONNX Runtime. A stand-in for the
latter is put beside it: a Python backend of that name, which runs the graphs with ONNX Runtime's defaults, as Triton's
own does. So the reading of the configurations, the ensemble, the tensors' way from step to step and the HTTP protocol
are the real server's; the call of each graph is not. numpy 2 is not understood by that release's Python backend: it
hands out tensors of no bytes. The last line is JSON.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffad_calibration.triton import Placement, TritonRepository, write_repository
from diffad_runtime.bundle import open_bundle
from diffad_runtime.inspector import Inspector
from diffad_runtime.pipeline import run_stream
from diffad_runtime.result import Result
from diffad_runtime.sinks import CallbackSink, MaskSink
from diffad_runtime.sources import open_source

STAND_IN = """
import json, os, sys
sys.path.insert(0, os.environ["GRAPHS_SITE"])
import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        file = os.path.join(args["model_repository"], args["model_version"], config["default_model_filename"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = [one["name"] for one in config["input"]]
        self.outputs = [one["name"] for one in config["output"]]

    def execute(self, requests):
        answers = []
        for request in requests:
            given = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            made = zip(self.outputs, self.session.run(self.outputs, given))
            answers.append(triton.InferenceResponse([triton.Tensor(n, np.ascontiguousarray(a)) for n, a in made]))
        return answers
"""


@contextmanager
def serving(server: Path, site: Path, repository: TritonRepository, scratch: Path, port: int) -> Iterator[str]:
    """HOST:PORT of the server, READY."""
    home, backends = server / "pytriton" / "tritonserver", scratch / "backends"
    shutil.copytree(home / "backends" / "python", backends / "python")
    stub = f"python_backend_stubs/3.{sys.version_info.minor}/triton_python_backend_stub"
    shutil.copy(home / stub, backends / "python")
    (backends / "onnxruntime").mkdir()
    (backends / "onnxruntime" / "model.py").write_text(STAND_IN, encoding="utf-8")
    for program in (home / "bin" / "tritonserver", backends / "python" / "triton_python_backend_stub"):
        program.chmod(0o755)
    log = scratch / "server.log"
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [
                home / "bin" / "tritonserver",
                f"--model-repository={repository.folder / 'models'}",
                f"--backend-directory={backends}",
                "--http-address=127.0.0.1",
                f"--http-port={port}",
                "--allow-grpc=false",
                "--allow-metrics=false",
            ],
            stdout=said,
            stderr=said,
            env={**os.environ, "GRAPHS_SITE": str(site), "LD_LIBRARY_PATH": str(server / "nvidia_pytriton.libs")},
        )
    try:
        while True:
            time.sleep(0.5)
            if process.poll() is not None:
                raise SystemExit(log.read_text(encoding="utf-8"))
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready"):
                    break
            except OSError:
                continue
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2") as answer:
            print("server", json.loads(answer.read())["version"])
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--site", type=Path, required=True)
    parser.add_argument("--variant", default=None)
    parser.add_argument("--port", type=int, default=18000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        placement = Placement(threads=1)
        made = write_repository(open_bundle(given.model), scratch / "out", variant=given.variant, placement=placement)
        with serving(given.server.resolve(), given.site.resolve(), made, scratch, given.port) as url:
            client = [sys.executable, made.folder / "client" / "score.py", given.images, "--url", url]
            done = subprocess.run(
                [*client, "--masks", scratch / "theirs"], stdout=subprocess.PIPE, text=True, check=False
            )
        theirs = {line.split("\t")[2]: line.split("\t")[:2] for line in done.stdout.splitlines()}
        ours: dict[str, Result] = {}
        with (
            Inspector.open(given.model, "onnxruntime", made.variant, 1) as inspector,
            open_source(given.images) as source,
        ):
            keep = CallbackSink(lambda _, result: ours.update({result.name: result}))
            run_stream(inspector, source, [MaskSink(scratch / "ours"), keep])
        same = sum(theirs.get(name) == [result.verdict.value, repr(result.score)] for name, result in ours.items())
        masks = [path.relative_to(scratch / "ours") for path in (scratch / "ours").rglob("*.png")]
        equal = sum(
            (scratch / "theirs" / mask).read_bytes() == (scratch / "ours" / mask).read_bytes() for mask in masks
        )
        report = {"images": len(ours), "same_verdict_and_score": same, "masks": len(masks), "same_mask": equal}
        print(json.dumps({"variant": made.variant, **report}))
    if not same == equal == len(ours):
        raise SystemExit(3)


if __name__ == "__main__":
    main()
