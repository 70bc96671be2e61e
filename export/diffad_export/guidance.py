"""Gradient denoising: an anomalous image turns smoothly into a normal one, led by deep features of good images.

Lu et al., ICCV 2023, "gradient denoising": x <- sqrt(1 - s^2) x + s g, g the unit-deviation gradient that lowers a
PaDiM distance, and now and then one step of the diffusion model, which takes away what the features do not see.
For showing, not for scoring. Knows no files and no pictures; randomness comes from the generator that is passed in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffad_calibration.references import PaDiM
from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.denoiser import Denoiser, from_blocks
from diffad_export.diffusion.chains import normal_like
from diffad_export.diffusion.posterior import Level
from diffad_export.resampling import Resample
from diffad_runtime.result import Image

LIMIT = 1.2
"""Images stay within [-LIMIT, LIMIT]: a little room beyond the range of pixels keeps the gradient alive at its ends."""

_BATCH = 8


@dataclass(frozen=True, slots=True)
class GradientSettings:
    """How an image is led; the defaults were set on magnetic tiles at 128 px with a compact teacher.

    Attributes:
        steps: gradient steps. Breaks and cracks have faded after 20, large blots after 40, small deep holes after 60.
        s: size of a step, the paper's.
        every: gradient steps to one diffusion step, the paper's; the last step is always followed by one.
        smooth: Gaussian over the gradient, sigma in pixels; 0 for none, as in the paper. It spares the fine grain that
            moves features but no eye, so that blots fade sooner.
    """

    steps: int = 60
    s: float = 0.02
    every: int = 5
    smooth: float = 1.0


@dataclass(frozen=True, slots=True)
class Guided:
    """An image on its way.

    Attributes:
        step: gradient steps done so far; 0 is the image given.
        x: (B, 3, S, S), within [-LIMIT, LIMIT].
        distance: (B, G, G), Mahalanobis distance of its features.
        settled: whether a diffusion step has just followed, or none was needed yet; such images are fit to be shown,
            those in between carry the grain of the gradient.
    """

    step: int
    x: Tensor
    distance: Tensor
    settled: bool


class Guide(nn.Module):
    """The distance of an image's features from those of good images, as a differentiable function of the image.

    Args:
        extractor: frozen.
        padim: fitted on good images, on this extractor's features.
    """

    def __init__(self, extractor: Extractor, padim: PaDiM) -> None:
        super().__init__()
        self.extractor = extractor
        for name, values in (("dims", padim.dims), ("mean", padim.mean), ("whitening", padim.whitening)):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        self.dims: Tensor
        self.mean: Tensor
        self.whitening: Tensor

    def squared(self, x: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> squared Mahalanobis distance (B, G, G)."""
        f = self.extractor.features(x)[:, self.dims]
        by_place = f.flatten(2).permute(2, 1, 0) - self.mean[:, :, None]
        white = self.whitening @ by_place
        return white.square().sum(1).T.reshape(len(x), *f.shape[2:])


def fit_guide(extractor: Extractor, good: Image, *, dims: int = 48, seed: int = 0) -> Guide:
    """Fit on good images.

    Args:
        good: uint8 (N, S, S, 3), BGR.
        dims: feature channels drawn at random. One matrix of dims x dims is kept for each place: 9 MB at 128 px with
            the default, 38 MB at 256 px.
        seed: of the draw.

    Raises:
        DataError: fewer than two images.
    """
    batches = (
        extractor.features(normalise(torch.from_numpy(good[i : i + _BATCH]))).numpy()
        for i in range(0, len(good), _BATCH)
    )
    with torch.no_grad():
        padim = PaDiM.fit(batches, input_size=good.shape[1], dims=dims, seed=seed)
    return Guide(extractor, padim)


def gradient_denoise(
    denoiser: Denoiser,
    guide: Guide,
    x: Tensor,
    level: Level,
    generator: torch.Generator,
    *,
    settings: GradientSettings | None = None,
    label: Tensor | None = None,
) -> Iterator[Guided]:
    """Lead images to normal ones.

    Args:
        x: (B, 3, S, S) in [-1, 1].
        level: a low one: the diffusion step noises to it and takes the network's estimate of the clean image.
        generator: draws the noise of the diffusion steps.
        label: (B,) int64, the category, or None.

    Yields:
        The image given, then the image after each gradient step, settings.steps + 1 in all.
    """
    how = settings or GradientSettings()
    smoothing = Resample(x.shape[-1], x.shape[-1], how.smooth).to(x.device)
    settled = True
    for step in range(how.steps + 1):
        squared, gradient = _pull(guide, x, last=step == how.steps)
        yield Guided(step, x, squared.sqrt(), settled)
        if gradient is None:
            return
        g = unit_deviation(smoothing(-gradient))
        x = ((1 - how.s**2) ** 0.5 * x + how.s * g).clamp(-LIMIT, LIMIT)
        settled = (step + 1) % how.every == 0 or step + 1 == how.steps
        if settled:
            x = diffusion_step(denoiser, x, level, generator, label)


def diffusion_step(
    denoiser: Denoiser, x: Tensor, level: Level, generator: torch.Generator, label: Tensor | None = None
) -> Tensor:
    """Noise x (B, 3, S, S) to `level` and take the estimate of the clean image, in [-1, 1]."""
    x_t = level.signal * x + level.noise * normal_like(x, generator)
    with torch.no_grad():
        denoised = denoiser(x_t, torch.full((len(x),), level.timestep, dtype=torch.int64, device=x.device), label)
    return from_blocks(denoised.x0).clamp(-1, 1)


def unit_deviation(g: Tensor) -> Tensor:
    """Divide each image (B, 3, S, S) by its standard deviation; one without any stays as it is."""
    deviation = g.std((1, 2, 3), keepdim=True)
    return torch.where(deviation > 0, g / deviation, g)


def _pull(guide: Guide, x: Tensor, *, last: bool) -> tuple[Tensor, Tensor | None]:
    """Squared distances (B, G, G), and the gradient of their sum after x, None for the last image."""
    with torch.set_grad_enabled(not last):
        leaf = x.detach().requires_grad_(not last)
        squared = guide.squared(leaf)
        gradient = None if last else torch.autograd.grad(squared.sum(), leaf)[0]
    return squared.detach(), gradient
