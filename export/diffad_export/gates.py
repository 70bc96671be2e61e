"""The gates between a trained student and a finished bundle: graphs that backends accept, parity, and accuracy.

Everything measured goes into parity.json, passed or not. Does not know files.
"""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffad_calibration.lint import check_lint, compare_weights
from diffad_calibration.metrics import evaluate_maps
from diffad_calibration.precision.variants import FORMS, GRAPHS, Graphs
from diffad_export.pasted import PastedSet
from diffad_runtime.errors import GateError
from diffad_runtime.parity import FrameOutcome, check, compare
from diffad_runtime.result import FloatMap


@dataclass(frozen=True, slots=True)
class Golden:
    """Frames that a device re-checks: rows of the pasted set, and torch's answer on them."""

    rows: list[int]
    outcomes: list[FrameOutcome]


@dataclass(frozen=True, slots=True)
class Shown:
    """Labelled images, torch's outcomes on them, and those of each variant's engine."""

    set: PastedSet
    reference: list[FrameOutcome]
    answers: dict[str, list[FrameOutcome]]


def pick_golden(outcomes: list[FrameOutcome], labels: np.ndarray[Any, np.dtype[np.int64]], threshold: float) -> Golden:
    """Up to four good and four defective frames whose decision is clear.

    A frame whose score lies at the threshold tells nothing: rounding alone may flip it. So those farthest from it, in
    evenly spaced ranks of their distance, are taken from each kind's clearer half.
    """
    rows: list[int] = []
    for label in (0, 1):
        of_kind = np.flatnonzero(labels == label)
        distance = np.abs(np.array([outcomes[i].score - threshold for i in of_kind]))
        clearer = of_kind[np.argsort(-distance, kind="stable")][: max(1, len(of_kind) // 2)]
        picks = np.linspace(0, len(clearer) - 1, min(4, len(clearer))).round().astype(int)
        rows += [int(i) for i in clearer[np.unique(picks)]]
    return Golden(rows, [outcomes[i] for i in rows])


def certify(
    reference: list[FrameOutcome],
    variants: dict[str, list[FrameOutcome]],
    pasted: PastedSet,
    golden: Golden,
    *,
    max_aupro_drop: float,
    labelled: Shown | None = None,
) -> dict[str, Any]:
    """Hold every variant against torch: maps, scores, decisions, and AUPRO.

    Args:
        reference: torch's outcomes on `pasted.images`; `variants` the same by each engine.
        max_aupro_drop: allowed loss of AUPRO@0.3 against torch.
        labelled: where AUPRO is judged; None: on the pasted set.

    Returns:
        The contents of parity.json.

    Raises:
        GateError: the first figure beyond its bound, with variant, frame and figure.
    """
    judged_on = "labelled data" if labelled is not None else "pasted defects"
    shown = labelled or Shown(pasted, reference, variants)
    before = aupro_of(shown.reference, shown.set)
    record: dict[str, Any] = {
        "reference": "torch fp32",
        "max_aupro_drop": max_aupro_drop,
        "aupro_judged_on": judged_on,
        "aupro_30": before,
        "variants": {},
    }
    for name, found in variants.items():
        parity = compare(reference, found)
        after = aupro_of(shown.answers[name], shown.set)
        flips = [i for i in golden.rows if reference[i].ng != found[i].ng]
        record["variants"][name] = parity.to_dict() | {"aupro_30": after, "golden_flips": len(flips)}
        check(parity, FORMS[name].precision, called=name)
        if flips:
            raise GateError(
                f"{name}: the decision flips on {len(flips)} of {len(golden.rows)} golden frames, none is allowed",
                mend="Export without this precision, or train longer",
            )
        if not before - after <= max_aupro_drop:
            raise GateError(
                f"{name}: AUPRO@0.3 on {judged_on} is {after:.4f}, torch has {before:.4f}, "
                f"a drop of at most {max_aupro_drop:g} is allowed",
                mend="Export without this precision, or raise --max-aupro-drop",
            )
    return record


def check_graphs(graphs: dict[str, Graphs], tuned: Container[str] = ()) -> None:
    """Lint every graph for its target, and hold the weights of each variant against those of FP32.

    Args:
        graphs: by variant, FP32 among them.
        tuned: variants whose weights were trained further.

    Raises:
        GateError: a finding, with rule, node and variant.
    """
    exact = graphs["fp32"]
    for name, pair in graphs.items():
        for graph in GRAPHS:
            check_lint(pair[graph], FORMS[name].target, f"{name} {graph}")
            findings = [] if name in tuned else compare_weights(exact[graph], pair[graph])
            if findings:
                first = findings[0]
                raise GateError(
                    f"{name} {graph}: {first.rule}: {first.where}: {first.what} ({len(findings)} in all)",
                    mend=first.mend,
                )


def aupro_of(found: list[FrameOutcome], pasted: PastedSet) -> float:
    """AUPRO@0.3 of outcomes on labelled images."""
    maps: list[FloatMap] = [outcome.map for outcome in found]
    metrics = evaluate_maps(maps, pasted.masks, [outcome.score for outcome in found], pasted.labels)
    return float(metrics.aupro_30 or 0.0)
