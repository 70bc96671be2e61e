"""`diffad-edge keygen` and `sign`: who made a bundle."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from diffad_edge.cli.arguments import BundleArgument, JsonOption
from diffad_edge.cli.trustoptions import PassphraseOption


def keygen(
    key: Annotated[Path, typer.Argument(metavar="NAME.key", help="Private half; NAME.pub goes beside it.")],
    *,
    passphrase: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Make a pair of Ed25519 keys. The private half stays on the workstation, the public one goes to every device."""
    from diffad_edge.cli.modelsview import show
    from diffad_runtime.trust import make_key

    made = make_key(key, passphrase)
    rows = [("private half", f"{made.private}, keep it where nobody else reads"), ("public half", str(made.public))]
    show([*rows, ("key id", made.key_id)], made, json=json)


def sign(
    model: BundleArgument,
    *,
    key: Annotated[Path, typer.Option("--key", metavar="NAME.key", help="Private half.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="SIGNED.diffad", help="Where to.", show_default="in its own place")
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"],
            help="UTC. Void from then on.",
            show_default="never",
        ),
    ] = None,
    passphrase: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Sign a bundle: its manifest, and by that every byte of it. Its digest stays the same."""
    from diffad_edge.cli.modelsview import show
    from diffad_runtime.trust import sign_bundle

    end = None if expires is None else expires.replace(tzinfo=timezone.utc)
    done = sign_bundle(model, key, out=out, passphrase=passphrase, expires=end)
    rows = [
        ("signed", f"{done.path}: {done.model_id} version {done.version}"),
        ("by", f"key {done.key_id}{', in place of another signature' if done.replaced else ''}"),
        ("expires", done.expires or "never"),
    ]
    show(rows, done, json=json)
