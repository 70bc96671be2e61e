"""Options about who may have made a bundle, and what becomes of them.

Knows the options. Does not check a signature (diffad_runtime.trust).
"""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from diffad_runtime.trust import Policy

TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        metavar="DIR",
        envvar="DIFFAD_EDGE_TRUST",
        help="Folder of the public keys (*.pub) that this device trusts; a signature that is there must be right.",
        show_default="nobody's signature is checked",
    ),
]
RequireOption = Annotated[
    bool,
    typer.Option(
        "--require-signature", envvar="DIFFAD_EDGE_REQUIRE_SIGNATURE", help="Refuse what no trusted key signed."
    ),
]
ModelsArgument = Annotated[
    Path, typer.Argument(metavar="MODELS", help="Folder of this device's models.", show_default=False)
]
PassphraseOption = Annotated[
    str | None,
    typer.Option(
        "--passphrase",
        envvar="DIFFAD_EDGE_PASSPHRASE",
        help="Of the private key; better in the environment, where no list of processes shows it.",
        show_default="none",
    ),
]


def policy_of(trust: Path | None, required: bool) -> "Policy":
    """What is asked of signatures.

    Raises:
        InputError: required without a folder of keys.
    """
    from diffad_runtime.trust import Policy, TrustStore

    return Policy(required, None if trust is None else TrustStore(trust))
