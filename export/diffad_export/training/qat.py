"""Quantisation-aware finish: extractor and student are tuned for some hundred steps while they round as INT8 does.

What they should answer is what they answer in float: features, heads and the fused map, on good images and on pasted
defects. So nothing is learnt but to round well; scores keep their meaning, and statistics and thresholds their values.
The noise is drawn anew every step, as in distillation. Most of what INT8 costs arises in the extractor, whose channels
are few and uneven; it is tuned for this product alone, and for the INT8 graph alone.

Knows a reconstructor and an extractor. Does not know graphs or gates.
"""

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from diffad_calibration.precision.int8ranges import ConvRanges, Range
from diffad_export.backbone import Extractor
from diffad_export.config import OptimiserConfig
from diffad_export.denoiser import Denoised, Denoiser
from diffad_export.distributed import WHOLE, Share, World
from diffad_export.grids import Grids
from diffad_export.reconstructor import Reconstructor
from diffad_export.score import log_deviation_above
from diffad_export.training.fakequant import fake_quantised, take_weights
from diffad_export.training.loop import Outcome, Trainer
from diffad_export.training.student import features_mse
from diffad_export.training.teacher import draw_rows
from diffad_runtime.result import Image
from diffad_runtime.synthetic.pasted import paste_defect

# At a rate of 1e-4 the first steps lose more than 100 steps win back.
FINISH = OptimiserConfig(learning_rate=1e-5, warmup_steps=20, weight_decay=0.0, ema=0.98, batch=4, steps=200)
PASTED = 0.5  # share of images shown with a pasted defect
STUDENT_PREFIX = "model.denoiser."  # of names in the reconstructor's graph
LEAST_SCALE = 4.0  # as in parity: beyond it a difference counts in proportion to the value


@dataclass(frozen=True, slots=True)
class Answers:
    """What is compared: standardised features, the denoiser's answer at every level and draw, the fused map."""

    features: Grids
    denoised: list[Denoised]
    anomaly: Tensor


class Chain(nn.Module):
    """Extractor and reconstructor in a row, from image to map, with all that lies between them.

    Args:
        extractor: plain or fake-quantised.
        model: its denoiser plain or fake-quantised.
    """

    def __init__(self, extractor: Extractor, model: Reconstructor) -> None:
        super().__init__()
        self.extractor, self.model = extractor, model
        self.overheard = Overheard(model.denoiser)
        self.model.denoiser = self.overheard

    def forward(self, image: Tensor, noise: Tensor) -> Answers:
        """image uint8 (B, S, S, 3), noise as the reconstructor's."""
        self.model.noise, self.overheard.answers = noise, []
        x, *f = self.extractor(image)
        anomaly, _, _ = self.model(x, tuple(f))
        return Answers(self.model.standardised(tuple(f)), self.overheard.answers, anomaly)


class Overheard(Denoiser):
    """Keeps what a denoiser says to a reconstructor."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.answers = denoiser, list[Denoised]()

    def at_level(self, k: int, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        """As the denoiser's own."""
        self.answers.append(self.denoiser.at_level(k, x_t, t, label))
        return self.answers[-1]


class FinishObjective:
    """Distance between the rounding chain and the exact one.

    Args:
        exact: in float, in eval mode.
        images: good training images, uint8 (N, S, S, 3).
        batch: images a step, over all processes.
    """

    def __init__(self, exact: Chain, images: Image, batch: int, device: torch.device) -> None:
        self.exact, self.images, self.batch, self.device = exact, images, batch, device

    def __call__(
        self, network: nn.Module, generator: torch.Generator, share: Share = WHOLE
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw images, defects and noise; the loss over this process's share, and its parts."""
        image = self._drawn(generator, share)
        noise = torch.randn(self.exact.model.noise.shape, generator=generator).to(self.device)
        with torch.no_grad():
            wanted: Answers = self.exact(image, noise)
        found: Answers = network(image, noise)
        model = self.exact.model
        heads = [
            heads_mse(own, other, model.floor, pixels=model.alpha > 0)
            for own, other in zip(found.denoised, wanted.denoised, strict=True)
        ]
        # In the unit that parity is judged in.
        unit = (wanted.anomaly.abs() / LEAST_SCALE).clamp_min(1)
        parts = {
            "features": features_mse(found.features, wanted.features),
            "heads": torch.stack(heads).mean(),
            "map": mse_loss(found.anomaly / unit, wanted.anomaly / unit),
        }
        return torch.stack(list(parts.values())).sum(), {name: value.detach() for name, value in parts.items()}

    def _drawn(self, generator: torch.Generator, share: Share) -> Tensor:
        rows = share.of(draw_rows(len(self.images), self.batch, generator))
        spoil = share.of(torch.rand(self.batch, generator=generator)) < PASTED
        seeds = share.of(torch.randint(0, 2**31, (self.batch,), generator=generator))
        images: Image = np.array(self.images[rows])
        for i in torch.nonzero(spoil)[:, 0].tolist():
            images[i], _ = paste_defect(images[i], np.random.default_rng(int(seeds[i])))
        return torch.from_numpy(images).to(self.device)


def heads_mse(found: Denoised, wanted: Denoised, floor: float, *, pixels: bool) -> Tensor:
    """Squared differences of means, in the deviations that are wanted, and of the logarithms of these deviations.

    Args:
        floor: of the score's variance.
        pixels: x0 counts too; where the score does not read it, its head is not in the graph.
    """
    own = tuple(log_deviation_above(log_var, floor) for log_var in found.f_log_var)
    other = tuple(log_deviation_above(log_var, floor) for log_var in wanted.f_log_var)
    gains = [(-log).exp() for log in other]
    means = features_mse(
        tuple(mean * gain for mean, gain in zip(found.f, gains, strict=True)),
        tuple(mean * gain for mean, gain in zip(wanted.f, gains, strict=True)),
    )
    total = means + features_mse(own, other)
    return total + mse_loss(found.x0, wanted.x0) if pixels else total


@dataclass(frozen=True, slots=True)
class Finished:
    """Extractor and reconstructor with other weights, for the INT8 graphs, and how the training went."""

    extractor: Extractor
    model: Reconstructor
    outcome: Outcome


def finish(
    extractor: Extractor,
    model: Reconstructor,
    ranges: tuple[Mapping[str, ConvRanges], Mapping[str, ConvRanges]],
    images: Image,
    config: OptimiserConfig,
    folder: Path | None,
    seed: int,
    device: torch.device,
    *,
    resume: bool = False,
) -> Finished:
    """Tune copies of both; what is given stays as it is.

    Args:
        model: with a folded student, fitted.
        ranges: of the extractor's graph and of the reconstructor's, as `int8_ranges` gives them.
        images: good training images, uint8 (N, S, S, 3).
        folder: for checkpoint and log; None for neither.
    """
    exact = Chain(copy.deepcopy(extractor), copy.deepcopy(model)).to(device).eval().requires_grad_(False)
    tuned = copy.deepcopy(model).requires_grad_(False)
    rounding = copy.deepcopy(model)
    rounding.denoiser = fake_quantised(model.denoiser, ranges[1], prefix=STUDENT_PREFIX)
    chain = Chain(_rounding_extractor(extractor, ranges[0]), rounding).to(device)
    trainer = Trainer(
        chain, FinishObjective(exact, images, config.batch, device), config, folder, seed, "finish", World(device)
    )
    outcome = trainer.run(resume=resume)
    chain.load_state_dict(trainer.ema)
    chain.cpu().eval()
    own = copy.deepcopy(extractor)
    if _is_folded(own):
        take_weights(own, chain.extractor)
    take_weights(tuned.denoiser, chain.overheard.denoiser)
    return Finished(own.eval(), tuned.eval(), outcome)


def _rounding_extractor(extractor: Extractor, ranges: Mapping[str, ConvRanges]) -> Extractor:
    if not _is_folded(extractor):
        return copy.deepcopy(extractor)  # its graph has other weights than it has itself: it stays float, and as it is
    return fake_quantised(extractor, ranges, outputs=sums_of(extractor, ranges))


def _is_folded(extractor: Extractor) -> bool:
    return not any(isinstance(module, nn.BatchNorm2d) for module in extractor.modules())


def sums_of(extractor: Extractor, ranges: Mapping[str, ConvRanges]) -> dict[str, Range]:
    """Blocks that end in a sum, and the range of it: that of the convolution which reads it next."""
    blocks = [name for name, module in extractor.named_modules() if getattr(module, "residual", None) is not None]
    first = {block: next(name for name in ranges if name.startswith(f"{block}.")) for block in blocks}
    return {
        block: ranges[first[after]].input
        for block, after in itertools.pairwise(blocks)
        if extractor.get_submodule(block).residual
    }
