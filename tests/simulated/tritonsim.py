"""What a Triton server does with a model repository, as far as ours go: configurations read, graphs run, steps chained.

Knows the published schema of config.pbtxt (model_config.proto, as tritonclient ships it), ensembles, and the two HTTP
calls of our client. Runs graphs with onnxruntime's own defaults, as Triton's backend does. Knows nothing of bundles.
"""

import importlib.util
import json
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from google.protobuf import json_format, text_format

TYPES = {"UINT8": np.uint8, "FP32": np.float32}


@cache
def published_schema() -> Any:
    """tritonclient.grpc.model_config_pb2, without the gRPC that importing its package asks for."""
    package = importlib.util.find_spec("tritonclient")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        # Made by protobuf 6; the runtime 7 reads it, and says so each time.
        warnings.filterwarnings("ignore", message="Protobuf gencode version", category=UserWarning)
        spec.loader.exec_module(module)
    return module


def read_config(path: Path) -> Any:
    """A ModelConfig. Unknown fields, wrong types and unknown enumeration values raise text_format.ParseError."""
    return text_format.Parse(path.read_text(encoding="utf-8"), published_schema().ModelConfig())


class TritonSim:
    """The models of a repository. A graph is opened when it is first asked for."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self.configs = {path.parent.name: read_config(path) for path in sorted(models.glob("*/config.pbtxt"))}
        self._sessions: dict[str, Any] = {}

    def infer(self, model: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, exactly those that the configuration lists."""
        config = self.configs[model]
        for tensor in config.input:
            given = inputs[tensor.name]
            kind = published_schema().DataType.Name(tensor.data_type).removeprefix("TYPE_")
            assert (given.dtype, list(given.shape)) == (TYPES[kind], list(tensor.dims)), (model, tensor.name)
        pool = self._chained(config, inputs) if config.platform == "ensemble" else self._run(config, inputs)
        return {tensor.name: pool[tensor.name] for tensor in config.output}

    def _chained(self, config: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        pool = dict(inputs)
        for step in config.ensemble_scheduling.step:
            given = {tensor: pool[name] for tensor, name in step.input_map.items()}
            made = self.infer(step.model_name, given)
            pool |= {name: made[tensor] for tensor, name in step.output_map.items()}
        return pool

    def _run(self, config: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        assert config.backend == "onnxruntime"
        if config.name not in self._sessions:
            versions = [path for path in (self._models / config.name).iterdir() if path.name.isdecimal()]
            newest = max(versions, key=lambda path: int(path.name))
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = 1
            self._sessions[config.name] = onnxruntime.InferenceSession(
                newest / config.default_model_filename, options, providers=["CPUExecutionProvider"]
            )
        names = [tensor.name for tensor in config.output]
        return dict(zip(names, self._sessions[config.name].run(names, dict(inputs)), strict=True))

    @contextmanager
    def serving(self) -> Iterator[str]:
        """HOST:PORT of an HTTP server that answers `config` and `infer` (the KServe protocol's binary form)."""
        sim = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = self.path.split("/")[3]
                if name not in sim.configs:
                    self._answer(400, json.dumps({"error": f"Request for unknown model: '{name}'"}).encode())
                    return
                config = json_format.MessageToDict(sim.configs[name], preserving_proto_field_name=True)
                self._answer(200, json.dumps(config).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                split = int(self.headers.get("Inference-Header-Content-Length", len(body)))
                asked, rest, inputs = json.loads(body[:split]), body[split:], {}
                for tensor in asked["inputs"]:
                    size = tensor["parameters"]["binary_data_size"]
                    array = np.frombuffer(rest[:size], TYPES[tensor["datatype"]])
                    inputs[tensor["name"]], rest = array.reshape(tensor["shape"]), rest[size:]
                made = sim.infer(self.path.split("/")[3], inputs)
                wanted = {one["name"]: np.ascontiguousarray(made[one["name"]]) for one in asked["outputs"]}
                described = [
                    {
                        "name": name,
                        "datatype": "FP32",
                        "shape": list(array.shape),
                        "parameters": {"binary_data_size": array.nbytes},
                    }
                    for name, array in wanted.items()
                ]
                head = json.dumps({"model_name": "m", "model_version": "1", "outputs": described}).encode()
                data = b"".join(array.tobytes() for array in wanted.values())
                self._answer(200, head + data, ("Inference-Header-Content-Length", str(len(head))))

            def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
                self.send_response(status)
                for name, value in (("Content-Length", str(len(body))), *headers):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, name="triton double", daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
