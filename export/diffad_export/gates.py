"""The gates between a trained student and a finished bundle: parity of every variant, and accuracy of INT8.

Everything measured goes into parity.json, passed or not. Does not know files.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffad_calibration.metrics import evaluate_maps
from diffad_export.pasted import PastedSet
from diffad_runtime.errors import GateError
from diffad_runtime.parity import FrameOutcome, check, compare
from diffad_runtime.result import FloatMap


@dataclass(frozen=True, slots=True)
class Golden:
    """Frames that a device re-checks: rows of the pasted set, and torch's answer on them."""

    rows: list[int]
    outcomes: list[FrameOutcome]


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
) -> dict[str, Any]:
    """Hold every variant against torch: maps, scores, decisions, and AUPRO on pasted defects.

    Args:
        reference: torch's outcomes on `pasted.images`; `variants` the same by each engine.
        max_aupro_drop: allowed loss of AUPRO@0.3 against torch.

    Returns:
        The contents of parity.json.

    Raises:
        GateError: the first figure beyond its bound, with variant, frame and figure.
    """
    record: dict[str, Any] = {"reference": "torch fp32", "max_aupro_drop": max_aupro_drop, "variants": {}}
    before = _aupro(reference, pasted)
    record["aupro_30_on_pasted_defects"] = before
    for name, found in variants.items():
        parity = compare(reference, found)
        after = _aupro(found, pasted)
        flips = [i for i in golden.rows if reference[i].ng != found[i].ng]
        record["variants"][name] = parity.to_dict() | {"aupro_30_on_pasted_defects": after, "golden_flips": len(flips)}
        check(parity, name)
        if flips:
            raise GateError(
                f"{name}: the decision flips on {len(flips)} of {len(golden.rows)} golden frames, none is allowed",
                mend="Export without this precision, or train longer",
            )
        if not before - after <= max_aupro_drop:
            raise GateError(
                f"{name}: AUPRO@0.3 on pasted defects is {after:.4f}, torch has {before:.4f}, "
                f"a drop of at most {max_aupro_drop:g} is allowed",
                mend="Export without this precision, or raise --max-aupro-drop",
            )
    return record


def _aupro(found: list[FrameOutcome], pasted: PastedSet) -> float:
    maps: list[FloatMap] = [outcome.map for outcome in found]
    metrics = evaluate_maps(maps, pasted.masks, [outcome.score for outcome in found], pasted.labels)
    return float(metrics.aupro_30 or 0.0)
