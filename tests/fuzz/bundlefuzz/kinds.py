"""Makers for bundles: one for each way to spoil one; and with the other entrances', all kinds there are.

Knows which part of a bundle is changed how, and that all others stay right. Does not know what comes of it.
"""

import dataclasses
import random
from collections.abc import Callable
from typing import Any

from bundlefuzz import jsontree, octets, onnxes, pictures, zips
from bundlefuzz.entrances import ENTRANCES
from bundlefuzz.kind import Kind, Work
from bundlefuzz.targets import Targets
from bundlefuzz.zips import Parts


def _file(
    change: Callable[[random.Random, Parts], bytes],
) -> Callable[[random.Random, Parts, Targets], tuple[Work, int]]:
    def make(rng: random.Random, base: Parts, targets: Targets) -> tuple[Work, int]:
        data = change(rng, base)
        return targets.bundle(data), len(data)

    return make


def _with(base: Parts, **changes: Any) -> Parts:
    return dataclasses.replace(base, **changes)


def _member(rng: random.Random, base: Parts, suffix: str, change: Callable[[bytes], bytes]) -> bytes:
    name = rng.choice([name for name in base.members if name.endswith(suffix)])
    return _with(base, members=base.members | {name: change(base.members[name])}).sealed()


def _any_bytes(rng: random.Random, base: Parts) -> bytes:
    return octets.mutate(rng, base.sealed())


def _manifest_bytes(rng: random.Random, base: Parts) -> bytes:
    (_, raw), *_rest = base.entries()
    return _with(base, raw_manifest=octets.mutate(rng, raw)).sealed()


def _whole_manifest(base: Parts) -> dict[str, Any]:
    return base.manifest | {"members": zips.described(base.members)}


def _manifest_tree(rng: random.Random, base: Parts) -> bytes:
    return _with(base, raw_manifest=jsontree.mutate(rng, _whole_manifest(base))).sealed()


def _manifest_value(rng: random.Random, base: Parts) -> bytes:
    """One field takes another value of its own type: what gets past the types is what later readers meet."""
    fields = jsontree.tree(_whole_manifest(base))
    places = [(holder, at) for holder, at in jsontree.places([fields]) if isinstance(holder, jsontree.Pairs)]
    holder, at = rng.choice(
        [(h, i) for h, i in places if isinstance(h.items[i][1], int | float | str) and not _is_hash(h.items[i][1])]
    )
    key, value = holder.items[at]
    holder.items[at] = (key, _alike(rng, value))
    return _with(base, raw_manifest=jsontree.write(fields)).sealed()


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _alike(rng: random.Random, value: float | str) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(
            (0, 1, 2, value - 1, value + 1, value * 8, 33, 2048, 1 << 31, 1 << 53, 1 << 63, 1 << 70, 10**400, 10**4000)
        )
    if isinstance(value, float):
        return rng.choice((0.0, 1e-320, 1.0, 1e30, 4e38, 1e308, -1e308, -value, 10**400, 1 << 70))
    return rng.choice(
        (
            "",
            "x" * 120,
            "x" * 100_000,
            "\x1b[2J\x07",
            "[bold]",
            "[/x]",
            "\u202e",
            "fp16",
            "any",
            "a\nb",
            "é",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "2026-01-01T00:00:00",
        )
    )


def _lies(rng: random.Random, base: Parts) -> bytes:
    """The manifest and the members do not agree."""
    told = zips.described(base.members)
    members = dict(base.members)
    name = rng.choice(sorted(told))
    kind = rng.randrange(6)
    if kind == 0:
        told[name]["sha256"] = rng.choice(
            ("0" * 64, "", "A" * 64, told[name]["sha256"][:-1], told[name]["sha256"] + "\n")
        )
    elif kind == 1:
        told[name]["size"] = rng.choice((0, -1, told[name]["size"] + 1, 1 << 63, 10**400, 1.5, True))
    elif kind == 2:
        del told[name]
    elif kind == 3:
        told[rng.choice(("x", "../x", "/etc/passwd", "golden/../x", "a/..", "x\n", "é", ""))] = told[name]
    elif kind == 4:
        del members[name]
    else:
        members[name] = octets.mutate(rng, members[name])
    raw = jsontree.write(jsontree.tree(base.manifest | {"members": told}))
    return _with(base, members=members, raw_manifest=raw).sealed()


def _many(rng: random.Random, base: Parts) -> bytes:
    """More of something than anybody needs."""
    variant = next(iter(base.manifest["variants"].values()))
    kind = rng.randrange(4)
    if kind == 0:
        many = {f"v{i}": variant for i in range(rng.choice((10, 100, 2000)))}
        return _with(base, manifest=base.manifest | {"variants": many | base.manifest["variants"]}).sealed()
    if kind == 1:
        members = {f"x/{i}": b"" for i in range(rng.choice((10, 500, 520)))}
        return _with(base, members=base.members | members).sealed()
    if kind == 2:
        grey = pictures.plain(64, 64, 128, 1)
        huge = pictures.join(
            [
                pictures.header(*rng.choice(((8000, 8000), (1 << 20, 60), (30000, 2000))), colour=0),
                *pictures.chunks(grey)[1:],
            ]
        )
        frames = {
            f"golden/{i:02d}.{kind}": body
            for i in range(10, rng.choice((12, 60)))
            for kind, body in (("png", huge), ("json", b"{}"))
        }
        return _with(base, members=base.members | frames).sealed()
    nested = jsontree.Raw(rng.choice(("[[],[],[],[]],", '{"a":1},', "1e5,")) * 20_000)
    return _with(
        base,
        members=base.members
        | {"parity.json": jsontree.write(jsontree.Pairs([("a", jsontree.Raw(f"[{nested.text}0]"))]))},
    ).sealed()


def _two(rng: random.Random, base: Parts) -> bytes:
    first = _with(base, members=base.members | {bases_graph(base): onnxes.mutate(rng, base.members[bases_graph(base)])})
    return _manifest_value(rng, first)


def bases_graph(base: Parts) -> str:
    """Name of an extractor's graph."""
    return str(next(iter(base.manifest["variants"].values()))["extractor"])


KINDS: tuple[Kind, ...] = (
    Kind("file: bytes", 6, _file(_any_bytes)),
    Kind("file: zip records", 8, _file(zips.mutate)),
    Kind("manifest: bytes", 10, _file(_manifest_bytes)),
    Kind("manifest: structure", 20, _file(_manifest_tree)),
    Kind("manifest: values", 12, _file(_manifest_value)),
    Kind("manifest: lies about members", 5, _file(_lies)),
    Kind("bundle: too many", 1, _file(_many)),
    Kind(
        "graph: fields",
        22,
        _file(lambda rng, base: _member(rng, base, ".onnx", lambda body: onnxes.mutate(rng, body))),
    ),
    Kind(
        "graph: bytes", 8, _file(lambda rng, base: _member(rng, base, ".onnx", lambda body: octets.mutate(rng, body)))
    ),
    Kind(
        "golden picture",
        6,
        _file(lambda rng, base: _member(rng, base, ".png", lambda body: pictures.mutate(rng, body))),
    ),
    Kind(
        "golden record, parity",
        5,
        _file(lambda rng, base: _member(rng, base, ".json", lambda body: jsontree.mutate(rng, jsontree.parse(body)))),
    ),
    Kind("golden map", 2, _file(lambda rng, base: _member(rng, base, ".f16", lambda body: octets.mutate(rng, body)))),
    Kind("graph and manifest", 4, _file(_two)),
    *ENTRANCES,
)
