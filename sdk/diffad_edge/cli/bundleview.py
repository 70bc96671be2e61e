"""A bundle in words, for people.

Knows the manifest's fields and how to say them. Does not verify anything: a Bundle is verified already.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from diffad_edge.cli.output import facts, size, stdout, table
from diffad_edge.cli.searchview import is_search, show_search
from diffad_runtime.bundle import Bundle
from diffad_runtime.manifest import Manifest


def show_bundle(bundle: Bundle) -> None:
    """Print everything worth knowing before a bundle is run."""
    console, manifest = stdout(), bundle.manifest
    console.print(facts(_identity(bundle)))
    console.print()
    console.print(_variants(manifest))
    console.print()
    console.print(facts(thresholds_in_words(manifest)))
    if rows := list(parity_rows(bundle.parity())):
        console.print()
        columns = ("variant", "map max", "map mean", "score max", "flips", "frames")
        console.print(table("Differences from torch, in spreads of the map", columns, rows))
    provenance = dict(manifest.provenance)
    if is_search(provenance.get("search")):
        console.print()
        show_search(provenance.pop("search"))
    for title, lines in (("Licences", manifest.licences), ("Provenance", list(flat(provenance)))):
        if lines:
            console.print()
            console.print(title, style="bold")
            for line in lines:
                console.print(f"  {line}", soft_wrap=True)


def thresholds_in_words(manifest: Manifest) -> list[tuple[str, str]]:
    """What the thresholds do, and what so many good images can promise."""
    limits = manifest.thresholds
    return [
        (
            "pixel threshold",
            f"{limits.pixel:.4g}: a map value above it is a defect pixel; {limits.pixel_rate:.3%} of good pixels are",
        ),
        (
            "image threshold",
            f"{limits.image:.4g}: a part whose {manifest.image_score.pixels} largest map values average above it is NG",
        ),
        (
            "false rejects",
            f"{limits.false_reject_rate:.2%} asked for; the {limits.good_images} good images it was set on promise no "
            f"more than {limits.guaranteed_rate:.2%}",
        ),
        ("smallest defect", f"{manifest.min_defect_pixels} px of the map; smaller blobs are erased"),
    ]


def parity_rows(parity: Mapping[str, Any]) -> Iterator[list[str]]:
    """One row a variant; records of another form are passed over."""
    records = parity.get("variants", parity)
    for name, record in records.items() if isinstance(records, Mapping) else ():
        if isinstance(record, Mapping) and {"map_max", "map_mean", "score_max", "flips"} <= set(record):
            frames = record.get("frames", [])
            figures = [f"{record[key]:.2g}" for key in ("map_max", "map_mean", "score_max")]
            yield [str(name), *figures, str(record["flips"]), str(len(frames) if isinstance(frames, list) else frames)]


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """A nested record as lines "a.b: value"."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}: {value}"


def _identity(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    backbone, method = manifest.backbone, manifest.reconstruction
    pairs = zip(backbone.channels, backbone.strides, strict=False)
    channels = " + ".join(f"{channel} at stride {stride}" for channel, stride in pairs)
    levels = ", ".join(str(level) for level in method.levels)
    side = manifest.input_size
    return [
        ("model", f"{manifest.model_id}, version {manifest.version}"),
        ("file", f"{bundle.path}, {size(bundle.size_bytes)}, every byte verified"),
        ("digest", bundle.digest),
        ("signature", "present, not checked here" if bundle.signature else "none"),
        ("created", f"{manifest.created:%Y-%m-%d %H:%M} UTC"),
        ("input", f"{side} x {side}, {manifest.colour_order}, frames are resized ({manifest.resize})"),
        ("backbone", f"{backbone.name}: {channels}, on a grid of {manifest.grid} x {manifest.grid}"),
        (
            "method",
            f"{method.steps} network evaluation{'s' if method.steps > 1 else ''} at noise level {levels}; map = "
            f"{method.alpha:g} x pixel KL + {1 - method.alpha:g} x feature {method.feature_score}, "
            f"smoothed by {method.smoothing_sigma:g} pixels",
        ),
        ("golden frames", str(sum(name.startswith("golden/") and name.endswith(".png") for name in manifest.members))),
    ]


def _variants(manifest: Manifest) -> Any:
    rows = []
    for name, variant in manifest.variants.items():
        graphs = [size(manifest.members[graph].size) for graph in (variant.extractor, variant.reconstructor)]
        default = "default" if name == manifest.default_variant else ""
        rows.append([name, variant.precision, variant.target, default, *graphs])
    return table("Variants", ("name", "precision", "made for", "", "extractor", "reconstructor"), rows, left=4)
