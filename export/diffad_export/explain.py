"""`eval --explain`: why the teacher finds a part abnormal, in pictures.

For each image the columns of the paper's Figure 6 (noised, reconstructed, maps) and three ways to a normal image:
gradient denoising (its Figure 7), a DDIM and an ancestral reverse chain. Chooses the images too. Knows the denoiser
only by its signature; knows neither run folders nor pages. Same images, same seed, same pictures.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffad_calibration.report.data import GOOD
from diffad_calibration.report.explained import Explanation, Strip, StripFrame, StripKind
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.denoiser import Denoiser, from_blocks
from diffad_export.diffusion.chains import Sampler, cut, normal_like, reverse_chain
from diffad_export.diffusion.posterior import Level, level_at
from diffad_export.diffusion.schedule import add_noise, linear_schedule, respace
from diffad_export.grids import Grids
from diffad_export.guidance import GradientSettings, Guide, gradient_denoise
from diffad_runtime.errors import InputError
from diffad_runtime.result import FloatMap, Image

Scores = Callable[[Tensor, Grids], tuple[Tensor, Tensor, Tensor]]
"""x (1, 3, S, S), f (1, C, g, g) -> fused map (1, S, S), pixel and feature maps (1, G, G); a Reconstructor is one."""

_CHAIN = 250
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExplainSettings:
    """How much is shown; steps count in the 250-step chain, where 100 stands for t = 401.

    The defaults suit a compact teacher trained for minutes. A better one stands a higher `start`; from t = 200 upwards
    a weak one puts its own patterns into the image, and the score of good parts rises.

    Attributes:
        most: images at most.
        frames: pictures in a strip.
        gradient: how images are led.
        low: chain step of the diffusion steps within gradient denoising (4: t = 16). Higher ones clear defects
            sooner and take the texture with them.
        start: chain step that reverse chains start from; the teacher must have been trained there.
        ddim_steps, ancestral_steps: network calls of the two chains.
        seed: of all noise.
    """

    most: int = 9
    frames: int = 7
    gradient: GradientSettings = field(default_factory=GradientSettings)
    low: int = 4
    start: int = 25
    ddim_steps: int = 10
    ancestral_steps: int = 25
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An image to be explained: uint8 (S, S, 3) BGR, and its mask uint8 (S, S), None for none."""

    name: str
    kind: str
    image: Image
    truth: Image | None


@dataclass(frozen=True, slots=True)
class Model:
    """What is explained.

    Attributes:
        denoiser: the teacher, or anything of its signature, in eval mode.
        extractor: its frozen backbone.
        guide: fitted on good images of the category.
        scores: maps of an image.
        image_score: fused map float32 (S, S) -> image score.
        levels: the levels that `scores` visits; the middle one is shown.
        label: number of the category, None where the network is not told.
    """

    denoiser: Denoiser
    extractor: Extractor
    guide: Guide
    scores: Scores
    image_score: Callable[[FloatMap], float]
    levels: tuple[Level, ...]
    label: int | None = None


def choose_subjects(kinds: Sequence[str], scores: npt.NDArray[np.floating], most: int) -> list[int]:
    """Rows of a test set: of each kind of defect the highest score and a median one, then a median good part.

    The highest of every kind come before the median ones, and the good part always stays, when there is not room for
    all.

    Args:
        kinds: of every image, "good" for good ones.
        scores: (N,), image scores.
        most: rows at most.

    Raises:
        InputError: fewer than one row is asked for.
    """
    if most < 1:
        raise InputError(f"{most} images to explain, expected 1 or more", mend="Raise the number of images")
    by_kind = {kind: np.flatnonzero(np.array([k == kind for k in kinds])) for kind in sorted(set(kinds))}
    good = [_at_rank(scores, rows, 0.5) for kind, rows in by_kind.items() if kind == GOOD]
    bad = [rows for kind, rows in by_kind.items() if kind != GOOD]
    chosen = [_at_rank(scores, rows, rank) for rank in (1.0, 0.5) for rows in bad]
    kept = set(list(dict.fromkeys(chosen))[: most - len(good)])
    # Both pictures of a kind side by side, whatever was left out.
    paired = [_at_rank(scores, rows, rank) for rows in bad for rank in (1.0, 0.5)]
    return [row for row in dict.fromkeys(paired) if row in kept] + good


def explain(
    subjects: Iterable[Subject], model: Model, settings: ExplainSettings | None = None, *, category: str = ""
) -> list[Explanation]:
    """Explain images one by one; wrap `subjects` to show progress.

    At 128 px with the compact teacher an image takes about 6 s of one core.
    """
    how = settings or ExplainSettings()
    return [_explain(subject, model, how, category) for subject in subjects]


def _explain(subject: Subject, model: Model, how: ExplainSettings, category: str) -> Explanation:
    began = time.perf_counter()
    x = normalise(torch.from_numpy(subject.image[None]).to(model.extractor.gain.device))
    level = model.levels[len(model.levels) // 2]
    label = None if model.label is None else torch.tensor([model.label], device=x.device)
    with torch.no_grad():
        fused, pixel, feature = (_map(one) for one in model.scores(x, model.extractor.grids(x)))
        noised = level.signal * x + level.noise * normal_like(x, _generator(how.seed))
        x0 = from_blocks(model.denoiser(noised, torch.tensor([level.timestep], device=x.device), label).x0)
    score = model.image_score(fused)
    strips = (
        _gradient_strip(x, model, how, label),
        _chain_strip(x, model, how, label, "ddim", how.ddim_steps),
        _chain_strip(x, model, how, label, "ancestral", how.ancestral_steps),
    )
    return Explanation(
        name=subject.name,
        kind=subject.kind,
        image=subject.image,
        truth=subject.truth if subject.truth is not None and subject.truth.any() else None,
        noised=to_picture(noised),
        reconstruction=to_picture(x0),
        pixel=pixel,
        feature=feature,
        fused=fused,
        score=score,
        timestep=level.timestep,
        strips=strips,
        seconds=time.perf_counter() - began,
        category=category,
    )


def _gradient_strip(x: Tensor, model: Model, how: ExplainSettings, label: Tensor | None) -> Strip:
    low = level_at(respace(linear_schedule(), _CHAIN), how.low)
    way = gradient_denoise(
        model.denoiser, model.guide, x, low, _generator(how.seed), settings=how.gradient, label=label
    )
    shown = _spread([one for one in way if one.settled], how.frames)
    frames = tuple(
        StripFrame(to_picture(one.x), _step_words(one.step), _score(one.x, model), distance=float(one.distance.max()))
        for one in shown
    )
    return Strip("gradient", frames)


def _chain_strip(
    x: Tensor, model: Model, how: ExplainSettings, label: Tensor | None, sampler: Sampler, steps: int
) -> Strip:
    chain = cut(respace(linear_schedule(), _CHAIN), how.start, min(steps, how.start + 1))
    generator = _generator(how.seed)
    noised = add_noise(x, normal_like(x, generator), chain.abar[-1:])
    frames = [StripFrame(to_picture(noised), f"t = {int(chain.timestep[-1])}")]
    for step in reverse_chain(model.denoiser, noised, chain, generator, label=label, sampler=sampler):
        if step.reached is None:
            frames.append(StripFrame(to_picture(step.x), "end", _score(step.x, model)))
        else:
            frames.append(StripFrame(to_picture(step.x), f"t = {step.reached}"))
    first = StripFrame(to_picture(x), "image", _score(x, model))
    kind: StripKind = sampler
    return Strip(kind, (first, *_spread(frames, how.frames - 1)))


@torch.no_grad()
def _score(x: Tensor, model: Model) -> float:
    return model.image_score(_map(model.scores(x, model.extractor.grids(x))[0]))


def _spread(items: Sequence[T], count: int) -> list[T]:
    """`count` of the items at even distances, the first and the last among them; all where there are fewer."""
    places = dict.fromkeys(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int).tolist())
    return [items[place] for place in places]


def to_picture(x: Tensor) -> Image:
    """x (1, 3, S, S) -> uint8 (S, S, 3), BGR; undoes `normalise`, beyond [-1, 1] clipped."""
    levels = ((x[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255)
    return np.asarray(levels.to(torch.uint8).cpu().numpy())


def _at_rank(scores: npt.NDArray[np.floating], rows: npt.NDArray[np.intp], rank: float) -> int:
    order = rows[np.argsort(scores[rows], kind="stable")]
    return int(order[round(rank * (len(order) - 1))])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _map(one: Tensor) -> FloatMap:
    return np.asarray(one[0].float().cpu().numpy(), np.float32)


def _step_words(step: int) -> str:
    return "image" if step == 0 else f"step {step}"
