"""A bundle in words, for people.

Knows the manifest's fields and how to say them. Does not verify anything: a Bundle is verified already.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from diffad_calibration.thresholds.setting import too_few
from diffad_edge.cli.output import facts, size, stdout, table
from diffad_edge.cli.searchview import is_search, show_search
from diffad_edge.cli.sensitivityview import layer_tables
from diffad_runtime.bundle import Bundle
from diffad_runtime.manifest import Manifest, NormalScores, Thresholds


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
    for layers in layer_tables(provenance):
        console.print()
        console.print(layers)
    provenance.pop("layers", None)
    for title, lines in (("Licences", manifest.licences), ("Provenance", list(flat(provenance)))):
        if lines:
            console.print()
            console.print(title, style="bold")
            for line in lines:
                console.print(f"  {line}", soft_wrap=True)


def thresholds_in_words(manifest: Manifest) -> list[tuple[str, str]]:
    """What the thresholds do, and what so many good images can promise."""
    limits, side = manifest.thresholds, manifest.image_score.pixels
    rows = [
        (
            "pixel threshold",
            f"{limits.pixel:.4g}: a map value above it is a defect pixel; {_pixel_promise(limits)}",
        ),
        ("image threshold", f"{limits.image:.4g}: a part whose {side} largest map values average above it is NG"),
        ("false rejects", _labelled_promise(limits) if limits.labelled else _promise(limits)),
    ]
    if limits.shared:
        rows.append(
            ("", "the score's statistics were fitted on the same images: take what they promise as approximate")
        )
    if (few := too_few(limits)) is not None:
        rows.append(("too few images", few))
    if (normal := manifest.normal_scores) is not None:
        low, middle, high = (_level(normal, share) for share in (0.05, 0.5, 0.95))
        rows.append(
            (
                "normal scores",
                f"{low:.4g} to {high:.4g} (5 to 95 %), median {middle:.4g}, of {normal.count} good images",
            )
        )
    rows.append(("smallest defect", f"{manifest.min_defect_pixels} px of the map; smaller blobs are erased"))
    return rows


def _promise(limits: Thresholds) -> str:
    words = (
        f"{limits.false_reject_rate:.2%} asked for; {limits.good_images} good images promise no more than "
        f"{limits.guaranteed_rate:.2%}, averaged over the luck of which ones were taken"
    )
    if limits.confident_rate is not None:
        words += f"; with 95 % confidence, luck included, no more than {limits.confident_rate:.2%}"
    return words


def _labelled_promise(limits: Thresholds) -> str:
    chosen = limits.labelled
    if chosen is None:
        return ""
    words = (
        f"chosen on labelled images: {chosen.found} of {chosen.defective} defective ones are found, "
        f"{chosen.false_rejects} of {chosen.good} good ones rejected"
    )
    if limits.false_reject_rate < 1:
        words += f", a share of {limits.false_reject_rate:.2%} was allowed"
    if limits.confident_rate is not None:
        words += f"; with 95 % confidence no more than {limits.confident_rate:.2%} of later good parts"
    return words


def _pixel_promise(limits: Thresholds) -> str:
    if limits.pixel_guaranteed_rate is None:
        return f"{limits.pixel_rate:.3%} of good pixels are"
    if limits.pixel_guaranteed_rate <= limits.pixel_rate * (1 + 1e-9):
        return f"no more than {limits.pixel_rate:.3%} of a new good part's pixels are, on average"
    return (
        f"{limits.pixel_rate:.3%} of the good pixels it was set on are; of a new good part no more than "
        f"{limits.pixel_guaranteed_rate:.2%} on average is promised"
    )


def _level(normal: NormalScores, share: float) -> float:
    """The score below which a share of the normal ones lies: that of the nearest rank kept."""
    wanted = 1 + share * (normal.count - 1)
    nearest = min(range(len(normal.ranks)), key=lambda i: abs(normal.ranks[i] - wanted))
    return normal.values[nearest]


def parity_rows(parity: Mapping[str, Any]) -> Iterator[list[str]]:
    """One row a variant; records of another form are passed over."""
    records = parity.get("variants", parity)
    for name, record in records.items() if isinstance(records, Mapping) else ():
        known = {"map_max", "map_mean", "score_max", "flips"}
        if isinstance(record, Mapping) and all(isinstance(record.get(key), int | float) for key in known):
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
