"""What `verify` found, as tables or JSON, and the error that it leaves with.

Knows findings and words. Does not check anything.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from diffad_edge.cli.output import facts, print_json, size, stdout, table
from diffad_runtime.bundle import Bundle, GoldenFrame
from diffad_runtime.errors import EngineError, GateError
from diffad_runtime.parity import TOLERANCES, Tolerance
from diffad_runtime.selfcheck import GoldenCheck
from diffad_runtime.trust import Trusted

if TYPE_CHECKING:
    from diffad_calibration.bundlelint import GraphFindings


def show_verification(
    bundle: Bundle,
    golden: Sequence[GoldenFrame],
    checks: Sequence[GoldenCheck] | None,
    linted: "Sequence[GraphFindings] | None",
    trusted: Trusted,
    *,
    json: bool,
) -> None:
    """Print what is verified, then the variants' parity, then the lint; or one JSON object. None: not asked for."""
    if json:
        print_json(_record(bundle, golden, checks, linted, trusted))
        return
    console = stdout()
    console.print(facts(_identity(bundle, golden, trusted)))
    if checks is not None:
        console.print()
        console.print(_parity(checks, golden))
        if any(check.foreign for check in checks):
            console.print("*  made for TensorRT: here the same graph, not the same kernels", style="dim")
        for check in checks:
            if not check.passed:
                console.print(f"{check.variant} {check.status}: {check.reason}", style="red", soft_wrap=True)
    if linted is not None:
        console.print()
        console.print(_lint(linted))
        for one in linted:
            for rule, count in Counter(finding.rule for finding in one.findings).items():
                first = next(finding for finding in one.findings if finding.rule == rule)
                more = f"; {count - 1} more of this rule" if count > 1 else ""
                console.print(f"{one.variant} {one.graph}: {first}{more}", style="red", soft_wrap=True)
                console.print(f"-> {first.mend}", soft_wrap=True)


def raise_refusal(checks: Sequence[GoldenCheck], linted: "Sequence[GraphFindings]") -> None:
    """Leave with an error where anything was found. What is refused goes before what could not be checked.

    Raises:
        GateError: a variant answers otherwise than torch, or the lint found something.
        EngineError: an engine failed.
    """
    refused = [f"{check.variant} by its golden frames" for check in checks if check.status == "refused"]
    refused += [f"{name} by the lint" for name in dict.fromkeys(one.variant for one in linted if one.findings)]
    if refused:
        raise GateError(f"refused: {', '.join(refused)}", mend="Run a variant that passes, or export the bundle again")
    if failed := [check.variant for check in checks if check.status == "failed"]:
        raise EngineError(
            f"no engine could check {', '.join(failed)}: {next(c.reason for c in checks if c.status == 'failed')}",
            mend="Name another --backend, or look at this machine with 'diffad-edge doctor'",
        )


def _identity(bundle: Bundle, golden: Sequence[GoldenFrame], trusted: Trusted) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    names = (f"{name} (default)" if name == manifest.default_variant else name for name in manifest.variants)
    return [
        ("file", f"{bundle.path}, {size(bundle.size_bytes)}, every byte verified"),
        ("digest", bundle.digest),
        ("signature", trusted.text()),
        ("model", f"{manifest.model_id}, version {manifest.version}, schema {manifest.schema_version}"),
        ("members", f"{len(manifest.members)}, sizes and SHA-256 as the manifest says"),
        ("variants", ", ".join(names)),
        ("golden frames", _golden(golden)),
    ]


def _golden(golden: Sequence[GoldenFrame]) -> str:
    if not golden:
        return "none: nothing to check an engine with"
    maps = sum(frame.map is not None for frame in golden)
    return f"{len(golden)}, " + (
        "with torch's maps" if maps == len(golden) else f"{maps} with torch's map" if maps else "scores only, no maps"
    )


def _parity(checks: Sequence[GoldenCheck], golden: Sequence[GoldenFrame]) -> Any:
    backend = next((check.backend for check in checks if check.parity is not None), checks[0].backend)
    against = "maps" if all(frame.map is not None for frame in golden) else "records"
    title = f"{len(golden)} golden frames on {backend} against torch's {against}, in spreads of the map"
    columns = ("variant", "map\nmax", "map\nmean", "score\nmax", "decision\nflips", "of\nlimit")
    rows = []
    for check in checks:
        name = f"{check.variant} *" if check.foreign else check.variant
        figures = ["-"] * 5
        if (found := check.parity) is not None:
            values = (found.map_max, found.map_mean, found.score_max)
            flips = f"{found.flips} of {len(found.frames)}"
            figures = [*(f"{value:.2g}" for value in values), flips, _share(values, TOLERANCES[check.precision])]
        rows.append([name, *figures, check.status])
    return table(title, (*columns, "verdict"), rows, left=1)


def _share(values: Sequence[float], limit: Tolerance) -> str:
    """The figure nearest to its limit, or farthest beyond it, in percent of the limit."""
    share = max(v / most for v, most in zip(values, (limit.map_max, limit.map_mean, limit.score), strict=True))
    return f"{share:.0%}" if share < 100 else "> 9999%"


def _lint(linted: "Sequence[GraphFindings]") -> Any:
    rows = [[one.variant, one.graph, one.target, str(len(one.findings) or "none")] for one in linted]
    columns = ("variant", "graph", "target", "findings")
    return table("Every graph against the rules of its target", columns, rows, left=3)


def _record(
    bundle: Bundle,
    golden: Sequence[GoldenFrame],
    checks: Sequence[GoldenCheck] | None,
    linted: "Sequence[GraphFindings] | None",
    trusted: Trusted,
) -> dict[str, Any]:
    manifest = bundle.manifest
    record: dict[str, Any] = {
        "ok": all(check.passed for check in checks or []) and not any(one.findings for one in linted or []),
        "bundle": str(bundle.path),
        "digest": bundle.digest,
        "size_bytes": bundle.size_bytes,
        "model_id": manifest.model_id,
        "version": manifest.version,
        "schema_version": manifest.schema_version,
        "signed": bundle.signature is not None,
        "signature": asdict(trusted),
        "members": len(manifest.members),
        "variants": list(manifest.variants),
        "golden": {"frames": len(golden), "maps": sum(frame.map is not None for frame in golden)},
    }
    if checks is not None:
        record["parity"] = {check.variant: check.to_dict() for check in checks}
    if linted is not None:
        record["lint"] = {
            name: {one.graph: [asdict(finding) for finding in one.findings] for one in linted if one.variant == name}
            for name in dict.fromkeys(one.variant for one in linted)
        }
    return record
