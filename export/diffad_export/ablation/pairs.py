"""Differences of two rows on the same images: bootstrap replicates on disk, and intervals of what two rows differ by.

Every row is measured on the same draws of the same images, so two rows are compared draw by draw, and what makes an
image hard for both falls out. With several seeds a draw also draws seeds, in pairs and independently by category, as
the trainings were: the interval then covers other images and other seeds. Knows replicates and figures; no maps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
import torch

from diffad_calibration.evaluation.results import Lead
from diffad_calibration.metrics import FIGURES, Bootstrap, Replicates
from diffad_calibration.metrics.bootstrap import difference, intervals, macro
from diffad_export.ablation.record import Figures
from diffad_export.checkpoint import load_tensors, save_tensors
from diffad_runtime.errors import InputError

Drawn = Mapping[str, Replicates]
"""By category: each figure, float64 (B,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One model on all categories; `drawn` is empty where no intervals were asked for."""

    figures: Figures
    drawn: Drawn


def save_drawn(path: Path, drawn: Mapping[str, Drawn]) -> None:
    """Write the replicates of several models, by name, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    order: list[list[str]] = []
    for name, categories in drawn.items():
        for category, replicates in categories.items():
            for figure, values in replicates.items():
                tensors[f"{len(order)}/{figure}"] = torch.from_numpy(np.asarray(values, np.float64))
            order.append([name, category])
    save_tensors(path, tensors, {"order": order})


def load_drawn(path: Path) -> dict[str, dict[str, dict[str, npt.NDArray[np.float64]]]] | None:
    """What `save_drawn` wrote; None where there is nothing that can be read: it is then measured anew."""
    try:
        tensors, facts = load_tensors(path)
        found: dict[str, dict[str, dict[str, npt.NDArray[np.float64]]]] = {}
        for number, (name, category) in enumerate(facts["order"]):
            prefix = f"{number}/"
            own = {key[len(prefix) :]: one.numpy() for key, one in tensors.items() if key.startswith(prefix)}
            found.setdefault(name, {})[category] = own
    except (InputError, KeyError, ValueError):
        return None
    return found


def leads(pairs: Sequence[tuple[Measured, Measured]], how: Bootstrap | None = None) -> dict[str, Lead]:
    """One row minus another.

    Args:
        pairs: a pair of both rows for each seed, all on the same categories and images.
        how: its level and seed; the replicates were drawn by one like it.

    Returns:
        "macro" and each category -> figure -> difference, low, high. The difference is the mean over seeds.
    """
    how = how or Bootstrap()
    pooled: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    for stream, category in enumerate(pairs[0][0].drawn):
        each = [difference(one.drawn[category], other.drawn[category]) for one, other in pairs]
        pooled[category] = {name: _over_seeds([one[name] for one in each], how.seed, stream) for name in each[0]}
    if not pooled:
        return {}
    spread = {"macro": intervals(macro(list(pooled.values())), how.level)}
    spread |= {category: intervals(values, how.level) for category, values in pooled.items()}
    found: dict[str, Lead] = {}
    for scope, ends in spread.items():
        found[scope] = {}
        for figure in FIGURES:
            points = [
                (a, b)
                for one, other in pairs
                if (a := one.figures.scopes[scope].get(figure)) is not None
                and (b := other.figures.scopes[scope].get(figure)) is not None
            ]
            if figure in ends and points:
                found[scope][figure] = (fmean(a - b for a, b in points), *ends[figure])
    return found


def _over_seeds(each: Sequence[npt.NDArray[np.float64]], seed: int, stream: int) -> npt.NDArray[np.float64]:
    """(B,) of every seed -> (B,): in each draw the mean over as many seeds, drawn with replacement."""
    stacked = np.stack(each)
    count, draws = stacked.shape
    chosen = np.random.default_rng([seed, stream, count]).integers(count, size=(count, draws))
    mean: npt.NDArray[np.float64] = np.take_along_axis(stacked, chosen, axis=0).mean(0)
    return mean
