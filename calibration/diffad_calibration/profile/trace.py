"""One graph under onnxruntime's profiler, beside the same graph without it.

Knows onnxruntime's trace: one event a node and run. The profiler lengthens every node a little, so the wall time of
runs without it is what the node times are held against. Does not know what the nodes compute.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are read
import onnxruntime

from diffad_runtime.engines.onnxruntime import DISABLED_OPTIMISERS, session_options
from diffad_runtime.errors import DiffadError


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What the profiler saw.

    Attributes:
        operators: operator type -> nodes a run, and ms of each run (float64), summed over these nodes.
        output_sizes: node name -> values of its first output.
    """

    operators: dict[str, tuple[int, npt.NDArray[np.float64]]]
    output_sizes: dict[str, int]


Feeds = Mapping[str, npt.NDArray[Any]]
_NODE = "_kernel_time"


class TracedGraph:
    """A graph in two sessions, one of them profiled. Use as a context manager.

    Args:
        graph: ONNX.
        threads: of each session.

    Raises:
        DiffadError: onnxruntime refuses the graph.
    """

    def __init__(self, graph: bytes, threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="diffad-")
        optimised = Path(self._folder.name) / "optimised.onnx"
        profiled = session_options(threads)
        profiled.enable_profiling = True
        profiled.profile_file_prefix = str(Path(self._folder.name) / "trace")
        profiled.optimized_model_filepath = str(optimised)
        try:
            self._plain = _session(graph, session_options(threads))
            self._profiled = _session(_named(graph), profiled)
            self.optimised: onnx.ModelProto = onnx.load(optimised)
        except BaseException:
            self._folder.cleanup()
            raise
        self.wall_ms: list[float] = []

    def run(self, feeds: Feeds) -> dict[str, npt.NDArray[Any]]:
        """Run once without profiler, timed, and once with it; gives the outputs by name."""
        start = time.perf_counter()
        made = self._plain.run(None, dict(feeds))
        self.wall_ms.append(1e3 * (time.perf_counter() - start))
        self._profiled.run(None, dict(feeds))
        return {node.name: array for node, array in zip(self._plain.get_outputs(), made, strict=True)}

    def finish(self) -> "Trace":
        """End the profile and read it."""
        events = json.loads(Path(self._profiled.end_profiling()).read_text(encoding="utf-8"))
        nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_NODE)]
        seen: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        times: dict[str, npt.NDArray[np.float64]] = {}
        sizes: dict[str, int] = {}
        for event in sorted(nodes, key=lambda event: float(event["ts"])):
            operator, name = str(event["args"]["op_name"]), event["name"].removesuffix(_NODE)
            node = str(event["args"].get("node_index", name))
            calls[operator] += seen[node] == 0
            times.setdefault(operator, np.zeros(len(self.wall_ms)))[seen[node]] += event["dur"] / 1e3
            seen[node] += 1
            sizes[name] = sum(prod(shape) for made in event["args"]["output_type_shape"][:1] for shape in made.values())
        return Trace({operator: (calls[operator], spent) for operator, spent in times.items()}, sizes)

    def close(self) -> None:
        """Free both sessions and what they wrote."""
        self._plain = self._profiled = None
        self._folder.cleanup()

    def __enter__(self) -> "TracedGraph":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _named(graph: bytes) -> bytes:
    """With a name for every node: what the trace says of a node is found by it."""
    model = onnx.load_from_string(graph)
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            node.name = next(
                name for name in (f"{node.op_type}_{index}" + "_" * i for i in count()) if name not in taken
            )
            taken.add(node.name)
    return bytes(model.SerializeToString())


def _session(graph: bytes, options: Any) -> Any:
    try:
        return onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMISERS
        )
    except Exception as error:  # onnxruntime's own exceptions derive from nothing narrower
        raise DiffadError(
            f"onnxruntime refuses the graph: {error}", mend="Export the bundle again with 'diffad-edge export'"
        ) from error
