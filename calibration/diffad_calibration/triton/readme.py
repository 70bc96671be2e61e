"""The README that lies in a model repository, for whoever starts the server and knows nothing of where it came from.

Knows what is inside and how it is started and asked. Does not write files.
"""

from collections.abc import Mapping

from diffad_calibration.triton.config import EXTRACTOR, GRAPH_FILE, RECONSTRUCTOR, Placement, member_name
from diffad_calibration.triton.tensors import GraphTensors
from diffad_runtime.engines.signature import Nodes
from diffad_runtime.manifest import Manifest

IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"
"""NVIDIA's image of the release whose server, 2.51.0, was seen to load these models (docs/triton.md)."""

_TEXT = """\
# {model_id}, version {version}, as a Triton model repository

Made by diffad-edge from the bundle `{digest}`, variant `{variant}` ({precision}).

| Path | What it is |
| --- | --- |
| `models/{name}/` | the ensemble that clients call: an image in, a map of anomalies out |
| `models/{extractor}/` | the first graph, `{graph_file}`: features of the image |
| `models/{reconstructor}/` | the second graph: how unlike a good part each place is |
| `client/score.py` | scores a folder of images, with the verdicts of `diffad-edge score` |
| `manifest.json` | the bundle's manifest: thresholds, sizes, where the weights come from |
| `diffad-triton.json` | what was written here, and of what |

Version folders have the bundle's number, {version}.

## Start the server

    docker run --rm {gpus}-p 8000:8000 -p 8001:8001 -p 8002:8002 -v "$PWD/models:/models:ro" \\
        {image} tritonserver --model-repository=/models

Any later release will do that fits the machine's driver. The graphs are ONNX of opset {opset} and run on the server's
{kind}. All three models must be READY in its log.

## Ask it

    pip install 'diffad-edge[triton]'
    python client/score.py IMAGES --url localhost:8000 --masks masks

One line an image: verdict, score, path. The server runs the two graphs. Resizing, thresholds and scores are done by the
client, with the code that runs beside the line; a server that holds another bundle is refused.

Of the ensemble `{name}`, sizes fixed, one image at a time:

| | Tensor | Type | Shape | |
| --- | --- | --- | --- | --- |
{tensors}

The image is the whole frame, resized to {size} x {size} (`{resize}`, diffad_runtime/geometry.py). The map is before any
threshold: a pixel above {pixel!r} is a defect, an image whose {pixels} largest values have a mean above
{image_threshold!r} is NG. These figures are also parameters of all three models, for other clients:
`GET /v2/models/{name}/config`.

## Licences

{licences}
"""

_MEANING = {
    "image": "blue, green, red",
    "anomaly_map": "what is thresholded",
    "feature_score": "what the features say, on their grid",
    "pixel_score": "what the pixels say, on the same grid",
}


def readme_of(
    manifest: Manifest,
    facts: Mapping[str, str],
    name: str,
    tensors: tuple[GraphTensors, GraphTensors],
    placement: Placement,
) -> str:
    """The text, Markdown.

    Args:
        manifest: of the bundle.
        facts: digest and variant, as config.facts_of.
        name: of the ensemble.
        tensors: of extractor and reconstructor.
        placement: where the server runs them.
    """
    rows = [*_rows("in", tensors[0].inputs), *_rows("out", tensors[1].outputs)]
    return _TEXT.format(
        model_id=" ".join(manifest.model_id.split()),
        version=manifest.version,
        digest=facts["bundle_digest"],
        variant=facts["variant"],
        precision=manifest.variants[facts["variant"]].precision,
        name=name,
        extractor=member_name(name, EXTRACTOR),
        reconstructor=member_name(name, RECONSTRUCTOR),
        graph_file=GRAPH_FILE,
        gpus="--gpus all " if placement.kind == "gpu" else "",
        image=IMAGE,
        kind=placement.kind.upper(),
        opset=max(graph.opset for graph in tensors),
        tensors="\n".join(rows),
        size=manifest.input_size,
        resize=manifest.resize,
        pixel=manifest.thresholds.pixel,
        pixels=manifest.image_score.pixels,
        image_threshold=manifest.thresholds.image,
        licences="\n".join(f"- {line}" for line in dict.fromkeys((*manifest.licences, manifest.backbone.licence))),
    )


def _rows(way: str, nodes: Nodes) -> list[str]:
    return [
        f"| {way} | `{name}` | {kind} | {' x '.join(map(str, shape))} | {_MEANING.get(name, '')} |"
        for name, (kind, shape) in nodes.items()
    ]
