"""The configurations of the three models that a bundle's variant becomes on a Triton server.

Knows Triton's fields (model_config.proto). Does not know files, nor how the text is spelt (pbtxt.py).

    image -> NAME_extractor -> x and the features -> NAME_reconstructor -> anomaly_map, feature_score, maybe pixel_score

NAME is an ensemble: the server runs one graph after the other and keeps what lies between to itself. A frame at a time,
sizes fixed: the graphs are made for a batch of 1, so `max_batch_size` is 0 and each size is written out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diffad_calibration.triton.pbtxt import Message, Word, entries
from diffad_calibration.triton.tensors import GraphTensors, described
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import Manifest

EXTRACTOR, RECONSTRUCTOR = "extractor", "reconstructor"
GRAPH_FILE = "model.onnx"

_KINDS = {"cpu": "KIND_CPU", "gpu": "KIND_GPU"}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a server runs the graphs.

    Attributes:
        kind: "cpu", or "gpu" for ONNX Runtime's CUDA provider.
        instances: of each graph, per GPU on "gpu": so many frames are judged at once.
        threads: of each instance on the CPU; None: as many as the server has cores.
    """

    kind: Literal["cpu", "gpu"] = "cpu"
    instances: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError(f"unknown placement {self.kind!r}", mend=f"Name one of {', '.join(_KINDS)}")
        if self.instances < 1 or (self.threads is not None and self.threads < 1):
            raise InputError(f"{self} asks for less than one", mend="Give 1 or more")


def member_name(name: str, graph: str) -> str:
    """What the model of one graph is called, as in "line_extractor"."""
    return f"{name}_{graph}"


def graph_config(
    name: str, graph: str, tensors: GraphTensors, placement: Placement, facts: Mapping[str, str]
) -> Message:
    """Of the model that runs one graph.

    Args:
        name: of the ensemble.
        graph: EXTRACTOR or RECONSTRUCTOR.
        tensors: of the graph.
        placement: where it runs.
        facts: go into `parameters`, where a client can ask for them.
    """
    parameters = dict(facts)
    if placement.threads is not None:
        parameters["intra_op_thread_count"] = str(placement.threads)
    return {
        "name": member_name(name, graph),
        "backend": "onnxruntime",
        "default_model_filename": GRAPH_FILE,
        "max_batch_size": 0,
        "input": described(tensors.inputs),
        "output": described(tensors.outputs),
        "instance_group": [{"kind": Word(_KINDS[placement.kind]), "count": placement.instances}],
        "parameters": _parameters(parameters),
    }


def ensemble_config(
    name: str, extractor: GraphTensors, reconstructor: GraphTensors, facts: Mapping[str, str]
) -> Message:
    """Of the model that clients call: takes the extractor's input, gives the reconstructor's outputs.

    What lies between keeps the graphs' own names: the extractor's outputs are the reconstructor's inputs, one for one.
    """
    steps: list[Message] = [
        {
            "model_name": member_name(name, graph),
            "model_version": -1,  # the newest, and there is one
            "input_map": entries({tensor: tensor for tensor in tensors.inputs}),
            "output_map": entries({tensor: tensor for tensor in tensors.outputs}),
        }
        for graph, tensors in ((EXTRACTOR, extractor), (RECONSTRUCTOR, reconstructor))
    ]
    return {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": 0,
        "input": described(extractor.inputs),
        "output": described(reconstructor.outputs),
        "ensemble_scheduling": {"step": steps},
        "parameters": _parameters(facts),
    }


def facts_of(manifest: Manifest, digest: str, variant: str) -> dict[str, str]:
    """What of a bundle a client may want to know from the server: which it is, and where its thresholds lie.

    Numbers are written as Python reads them back to the last bit.
    """
    return {
        "model_id": manifest.model_id,
        "bundle_version": str(manifest.version),
        "bundle_digest": digest,
        "variant": variant,
        "colour_order": manifest.colour_order,
        "resize": manifest.resize,
        "image_threshold": repr(manifest.thresholds.image),
        "pixel_threshold": repr(manifest.thresholds.pixel),
        "image_score_pixels": str(manifest.image_score.pixels),
        "min_defect_pixels": str(manifest.min_defect_pixels),
    }


def _parameters(values: Mapping[str, str]) -> list[Message]:
    return entries({key: {"string_value": value} for key, value in values.items()})
