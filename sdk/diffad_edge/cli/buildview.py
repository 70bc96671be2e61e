"""What `build` made of a bundle, as a table and as an exit code.

Knows records of provision.py. Builds nothing.
"""

from collections.abc import Sequence

from diffad_edge.cli.output import milliseconds, print_json, size, stdout, table
from diffad_runtime.errors import EngineError, GateError
from diffad_runtime.provision import VariantMade
from diffad_runtime.tensorrt.opening import Loaded


def show_engines(made: Sequence[VariantMade], *, json: bool) -> None:
    """One row a network; or one JSON object, variants by name."""
    if json:
        print_json({"ok": not _fault(made), "variants": {one.variant: one.to_json() for one in made}})
        return
    rows = [
        [
            engine.name,
            "in the cache" if engine.build_s is None else f"{engine.build_s:.1f} s",
            size(engine.plan_bytes),
            _golden(one),
            _median(one, engine),
        ]
        for one in made
        for engine in one.engines
    ]
    console = stdout()
    if rows:
        console.print(table("Engines of this device", ("engine", "built", "size", "golden frames", "GPU p50 ms"), rows))
    for one in made:
        if one.latency_ms:
            total = one.latency_ms["total"]
            how = "as CUDA graphs" if one.recorded else "kernel by kernel"
            console.print(
                f"{one.variant}: image of the input size in, map out: p50 {total['p50']:.2f} ms, "
                f"p95 {total['p95']:.2f} ms, launched {how}"
            )


def leave(made: Sequence[VariantMade]) -> None:
    """Go on where at least one variant may be used, and everything that was asked for is kept.

    Raises:
        GateError: none may be used: the golden frames say so.
        EngineError: none may be used, or one is not kept.
    """
    fault = _fault(made)
    if not fault:
        return
    refused = all(one.check is not None and one.check.status == "refused" for one in made)
    kind = GateError if refused else EngineError
    if len(made) == 1 and made[0].reason:
        raise kind(made[0].reason, mend=made[0].mend)
    raise kind(fault, mend="The lines above say what to do for each; 'diffad-edge doctor' looks at the machine")


def _fault(made: Sequence[VariantMade]) -> str:
    usable = [one for one in made if not one.reason]
    if not usable:
        return f"no engine to run was made of {', '.join(one.variant for one in made)}"
    lost = [one.variant for one in usable if one.lost]
    return f"engines of {', '.join(lost)} were built, but could not be kept" if lost else ""


def _golden(one: VariantMade) -> str:
    if one.check is None:
        return "none in the bundle" if not one.reason else "failed"
    return one.check.status


def _median(one: VariantMade, engine: Loaded) -> str:
    stage = "extract" if engine.name.startswith("extractor.") else "reconstruct"
    return milliseconds(one.latency_ms[stage]["p50"]) if one.latency_ms else "-"
