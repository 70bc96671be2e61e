"""`diffad-edge verify`: whether a bundle can be trusted, and whether this machine judges with it as torch did."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from typing import Annotated

import typer

from diffad_edge.cli.arguments import (
    Backend,
    BackendOption,
    BundleArgument,
    CacheOption,
    JsonOption,
    VariantsOption,
    names_of,
)
from diffad_edge.cli.trustoptions import RequireOption, TrustOption, policy_of
from diffad_edge.cli.workstation import reading_graphs
from diffad_runtime.errors import InputError


def verify(
    model: BundleArgument,
    *,
    parity: Annotated[
        bool, typer.Option("--parity", help="Run the golden frames here and compare the answers with torch's.")
    ] = False,
    lint: Annotated[
        bool, typer.Option("--lint", help="Check every graph against the rules of the backend that it is made for.")
    ] = False,
    trust: TrustOption = None,
    require_signature: RequireOption = False,
    backend: BackendOption = Backend.AUTO,
    variants: VariantsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Verify every byte of a bundle; with --parity also its answers, with --lint its graphs.

    Leaves with 2 where the bundle must not be trusted, 3 where a variant is refused, 1 where an engine fails.
    """
    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.status import Rounds
    from diffad_edge.cli.verifyview import raise_refusal, show_verification
    from diffad_runtime.bundle import open_bundle
    from diffad_runtime.selfcheck import check_variants

    names = names_of(variants)
    if names and not (parity or lint):
        raise InputError("--variant says what --parity and --lint look at", mend="Add one of them")
    # A missing package is said before the work, not after it.
    linter = reading_graphs("diffad_calibration.bundlelint", "lint_bundle", "checking graphs") if lint else None
    bundle = open_bundle(model)
    trusted = policy_of(trust, require_signature).check(bundle)
    golden = bundle.golden()
    with on_device(cache) as device, Rounds("checking variants") as rounds:
        checks = check_variants(bundle, backend.value, names, device=device, on_round=rounds.update) if parity else None
    linted = linter(bundle, names) if linter else None
    show_verification(bundle, golden, checks, linted, trusted, json=json)
    raise_refusal(checks or [], linted or [])
