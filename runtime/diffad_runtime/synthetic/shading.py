"""From surface to light on the sensor: anisotropic reflection of two lamps and of the room.

Knows a surface and a light. Does not know what was cut, what is defective, or how the sensor counts photons.

The camera looks straight down, so a facet with slope g reflects the direction r = -2 g / (1 + |g|^2) of the room.
A lamp is a Gaussian lobe at direction L. Tool marks tilt the facets across the grain, which widens the lobe in that
direction only: with a across and b along the grain, exp(-(a^2 / (s^2 + m^2) + b^2 / s^2) / 2). On a turned face that
gives the bow-tie highlight, on a brushed face a streak.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from diffad_runtime.result import FloatMap
from diffad_runtime.synthetic.part import Surface

_LOBE = 0.36  # s: half width of a lamp, in units of r
_MARKS = 0.62  # m: spread of the facets across the grain
_GRAIN_TILT = 0.12  # tilt per unit of grain, in units of r
_GRAIN_TONE = 0.055  # brightness per unit of grain


@dataclass(frozen=True, slots=True)
class Light:
    """Direction of the main lamp in the picture (radians), how low it stands, strengths, the lamp's colour (BGR)."""

    azimuth: float
    tilt: float
    key: float
    fill: float
    ambient: float
    colour: tuple[float, float, float]


def shade(surface: Surface, light: Light) -> FloatMap:
    """Linear light reflected by the metal, float32 (3, S, S) BGR, 1 = sensor full; holes and belt are not drawn."""
    gx = np.asarray(cv2.Sobel(surface.height, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8), np.float32)
    gy = np.asarray(cv2.Sobel(surface.height, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8), np.float32)
    bend = -2 / (1 + gx * gx + gy * gy)
    rx, ry = gx * bend, gy * bend
    lx, ly = np.cos(light.azimuth), np.sin(light.azimuth)
    tx, ty = surface.tangent_x, surface.tangent_y
    across = tx * ry - ty * rx + np.float32(_GRAIN_TILT) * surface.grain
    along = tx * rx + ty * ry
    lobe_a, lobe_b = np.float32(-0.5 / (_LOBE**2 + _MARKS**2)), np.float32(-0.5 / _LOBE**2)
    glow = np.zeros_like(rx)
    for strength, tilt in ((light.key, light.tilt), (light.fill, -0.8 * light.tilt)):
        lamp_a = (tx * np.float32(ly) - ty * np.float32(lx)) * np.float32(tilt)
        lamp_b = (tx * np.float32(lx) + ty * np.float32(ly)) * np.float32(tilt)
        exponent = (across - lamp_a) ** 2 * lobe_a + (along - lamp_b) ** 2 * lobe_b
        glow += np.float32(strength) * np.asarray(cv2.exp(exponent), np.float32)
    facing = rx * np.float32(lx) + ry * np.float32(ly)
    room = np.float32(light.ambient) * np.clip(1 + np.float32(0.55) * facing, 0.12, 2)
    diffuse = np.float32(light.ambient + 0.35 * light.key) * np.clip(1 + np.float32(0.45) * facing, 0, 2)
    bare = (glow + room) * (1 + np.float32(_GRAIN_TONE) * surface.grain)
    level = bare + surface.matte * (diffuse - bare)
    colour = np.array(light.colour, np.float32)[:, None, None]
    return np.asarray(level * surface.albedo * colour, np.float32)
