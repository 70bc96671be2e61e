"""`diffad-edge install`, `commit` and `rollback`: a model's life on a device."""

# ruff: noqa: PLC0415  what a command needs is imported when it runs, so that --help is quick

from typing import Annotated

import typer

from diffad_edge.cli.arguments import (
    Backend,
    BackendOption,
    BundleArgument,
    CacheOption,
    JsonOption,
    ThreadsOption,
    VariantOption,
)
from diffad_edge.cli.trustoptions import ModelsArgument, RequireOption, TrustOption, policy_of


def install(
    models: ModelsArgument,
    model: BundleArgument,
    *,
    trust: TrustOption = None,
    require_signature: RequireOption = False,
    other_model: Annotated[
        bool, typer.Option("--other-model", help="It may be of another model id than the one in force.")
    ] = False,
    backend: BackendOption = Backend.AUTO,
    variant: VariantOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Verify a bundle, build its engine, hold it against its golden frames, and put it on trial.

    A running 'diffad-edge run MODELS' takes it up between two frames. It is committed after a good trial, and rolled
    back after a bad one.
    """
    from functools import partial

    from diffad_edge.cli.devicework import on_device
    from diffad_edge.cli.modelsview import show_installed
    from diffad_runtime.models import install as install_bundle
    from diffad_runtime.models import self_test

    policy = policy_of(trust, require_signature)
    with on_device(cache) as device:
        test = partial(self_test, backend=backend.value, variant=variant, threads=threads, device=device)
        done = install_bundle(models, model, policy=policy, other_model=other_model, test=test)
    show_installed(done, json=json)


def commit(models: ModelsArgument, *, json: JsonOption = False) -> None:
    """Put the model that is on trial in force; the one before stays as the previous generation."""
    from diffad_edge.cli.modelsview import show_changed
    from diffad_runtime.models import commit as commit_trial

    show_changed(commit_trial(models), json=json)


def rollback(models: ModelsArgument, *, json: JsonOption = False) -> None:
    """Drop the model that is on trial; where there is none, go back to the previous generation."""
    from diffad_edge.cli.modelsview import show_changed
    from diffad_runtime.models import rollback as go_back

    show_changed(go_back(models), json=json)
