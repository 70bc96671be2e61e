"""Makers for every entrance but the bundle's: recipes, pictures, archives, and what a device keeps for itself.

Knows a valid input of each. Does not know what comes of it.
"""

import base64
import json
import random

from bundlefuzz import bases, jsontree, octets, pictures, tomls
from bundlefuzz.kind import Kind, Work
from bundlefuzz.targets import DEVICE, DIGEST, Targets
from bundlefuzz.zips import Parts


def _recipe(rng: random.Random, _base: Parts, targets: Targets) -> tuple[Work, int]:
    data = tomls.mutate(rng, bases.RECIPE)
    return targets.recipe(data), len(data) + len(targets.mask)


def _line(rng: random.Random, _base: Parts, targets: Targets) -> tuple[Work, int]:
    data = tomls.mutate(rng, bases.LINE)
    return targets.wiring(data), len(data)


def _recipe_picture(rng: random.Random, _base: Parts, targets: Targets) -> tuple[Work, int]:
    mask = pictures.mutate(rng, targets.mask)
    return targets.recipe(bases.RECIPE.encode(), mask), len(mask) + len(bases.RECIPE)


def _picture(rng: random.Random, base: Parts, targets: Targets) -> tuple[Work, int]:
    name = rng.choice([name for name in base.members if name.endswith(".png")])
    data = (
        pictures.mutate(rng, base.members[name])
        if rng.random() < 0.8
        else octets.mutate(rng, rng.choice(pictures.FOREIGN))
    )
    return targets.picture(data), len(data)


def _record(rng: random.Random, _base: Parts, targets: Targets) -> tuple[Work, int]:
    fields = bases.record() | {"file_sha256": targets.digest_of(b"")}
    line = (
        jsontree.mutate(rng, fields)
        if rng.random() < 0.8
        else octets.mutate(rng, jsontree.write(jsontree.tree(fields)))
    )
    whole = jsontree.write(jsontree.tree(fields)) + b"\n" + line + b"\n"
    return targets.archived(whole), len(whole) + len(targets.frame)


def _archived_picture(rng: random.Random, _base: Parts, targets: Targets) -> tuple[Work, int]:
    picture = pictures.mutate(rng, targets.frame)
    line = jsontree.write(jsontree.tree(bases.record() | {"file_sha256": targets.digest_of(picture)})) + b"\n"
    return targets.archived(line, picture), len(line) + len(picture)


def _kept(rng: random.Random, _base: Parts, targets: Targets) -> tuple[Work, int]:
    device = DEVICE.model_dump()
    key = {
        "schema_version": 1, "onnx_sha256": DIGEST, "device": device, "tf32": False, "optimisation_level": None,
        "workspace_mb": 512,
    }  # fmt: skip
    about = {
        "graph": "extractor", "variant": "fp16", "model_id": "m", "model_version": 1, "bundle_digest": DIGEST,
        "seconds": 1.5,
    }  # fmt: skip
    side = {"key": key, "about": about, "built": "2026-11-27T10:15:00+00:00", "plan_sha256": DIGEST, "plan_bytes": 4}
    ranking = {
        "schema_version": 1, "bundle_digest": DIGEST, "device": device, "p50_ms": {"fp16": 1.5, "fp32": 3.0},
        "measured": "now",
    }  # fmt: skip
    bodies = [jsontree.write(jsontree.tree(one)) for one in (side, ranking)]
    which = rng.randrange(2)
    bodies[which] = (
        jsontree.mutate(rng, (side, ranking)[which]) if rng.random() < 0.8 else octets.mutate(rng, bodies[which])
    )
    return targets.kept(*bodies), sum(map(len, bodies))


def _signature(rng: random.Random, _base: Parts, targets: Targets) -> tuple[Work, int]:
    stamps = (
        "2026-11-27T08:00:00Z",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-02-30T00:00:00Z",
        "2027-01-01T00:00:00Z",
    )
    header = {
        "schema_version": 1, "algorithm": "ed25519", "key_id": "0123456789abcdef", "signed": rng.choice(stamps),
        "expires": rng.choice((None, *stamps)),
    }  # fmt: skip
    text = base64.b64encode(rng.randbytes(64))
    kind = rng.randrange(4)
    first = jsontree.mutate(rng, header) if kind == 1 else json.dumps(header).encode()
    data = first + b"\n" + (octets.mutate(rng, text) if kind == 2 else text) + b"\n"
    data = octets.mutate(rng, data) if kind == 3 else data
    return targets.signature(data), len(data)


def _remembered(rng: random.Random, _base: Parts, targets: Targets) -> tuple[Work, int]:
    stamp = "2026-11-27T08:00:00Z"
    generation = {
        "number": 1, "model_id": "m", "version": 2, "digest": DIGEST, "size_bytes": 9, "key_id": "", "installed": stamp,
        "committed": stamp, "measured": {"parts": 100, "ng": 3, "p99_ms": 9.5},
    }  # fmt: skip
    state = {
        "schema_version": 1, "serial": 4, "next_number": 3, "current": generation, "previous": None,
        "trial": generation | {"number": 2, "version": 3, "committed": None}, "starts": 1,
        "events": [{"time": stamp, "what": "installed", "text": "x"}],
    }  # fmt: skip
    versions = {"schema_version": 1, "models": {"m": {"floor": 1, "highest": 2, "digest": DIGEST}}}
    bodies = [jsontree.write(jsontree.tree(one)) for one in (state, versions)]
    which = rng.randrange(2)
    bodies[which] = (
        jsontree.mutate(rng, (state, versions)[which]) if rng.random() < 0.8 else octets.mutate(rng, bodies[which])
    )
    return targets.remembered(*bodies), sum(map(len, bodies))


ENTRANCES: tuple[Kind, ...] = (
    Kind("recipe", 8, _recipe, bundle=False),
    Kind("line file", 4, _line, bundle=False),
    Kind("picture of a recipe", 3, _recipe_picture, bundle=False),
    Kind("image file", 4, _picture, bundle=False),
    Kind("line of an archive", 6, _record, bundle=False),
    Kind("picture of an archive", 3, _archived_picture, bundle=False),
    Kind("records of the engine cache", 3, _kept, bundle=False),
    Kind("signature", 3, _signature, bundle=False),
    Kind("state of the models folder", 3, _remembered, bundle=False),
)
