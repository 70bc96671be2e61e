"""Every graph of a bundle's variants through the lint, and its weights against those of FP32.

Knows which graph belongs to which variant and target. Does not know the rules (lint/), nor what follows from a finding.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from diffad_calibration.lint import Finding, compare_weights, lint
from diffad_calibration.precision.variantrecord import MEMBER, CalibrationRecord
from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import InputError

_EXACT = "fp32"
_GRAPHS = ("extractor", "reconstructor")


@dataclass(frozen=True, slots=True)
class GraphFindings:
    """What was found in one graph; `graph` is "extractor" or "reconstructor"."""

    variant: str
    graph: str
    target: str
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"findings": [asdict(finding) for finding in self.findings]}


def lint_bundle(bundle: Bundle, variants: Sequence[str] | None = None) -> list[GraphFindings]:
    """Two entries a variant, with or without findings.

    Args:
        variants: None: all of the bundle.

    Raises:
        InputError: an unknown variant, or one named twice.
        BundleError: its calibration record cannot be read.
    """
    names = list(bundle.manifest.variants) if variants is None else list(variants)
    if len(set(names)) != len(names):
        raise InputError(f"expected different variants, got {', '.join(names)}", mend="Name each once")
    exact = bundle.graphs(_EXACT) if _EXACT in bundle.manifest.variants else None
    apart = {_EXACT, *_tuned(bundle)}
    found = []
    for name in names:
        target = bundle.variant(name).target
        for index, (what, graph) in enumerate(zip(_GRAPHS, bundle.graphs(name), strict=True)):
            findings = lint(graph, target)
            if exact is not None and name not in apart:
                findings = [*findings, *compare_weights(exact[index], graph)]
            found.append(GraphFindings(name, what, target, tuple(findings)))
    return found


def _tuned(bundle: Bundle) -> set[str]:
    """Variants whose weights were trained further: they are not FP32's, and are judged by their answers alone."""
    if MEMBER not in bundle.manifest.members:
        return set()
    variants = CalibrationRecord.of_bytes(bundle.read(MEMBER)).variants
    return {name for name, record in variants.items() if record.tuned}
