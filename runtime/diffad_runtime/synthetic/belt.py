"""The conveyor under the part: woven rubber with dust, the part's soft shadow, and the darkness inside its holes.

Knows the outline of the part and the light. Does not know the part's surface.
"""

import cv2
import numpy as np

from diffad_runtime.result import FloatMap
from diffad_runtime.synthetic.shading import Light

_RUBBER = np.array([0.066, 0.059, 0.037], np.float32)  # BGR reflectance, dark petrol


def draw_belt(outside: FloatMap, light: Light, rng: np.random.Generator) -> FloatMap:
    """Linear light of the belt, float32 (3, S, S) BGR.

    Args:
        outside: float32 (S, S), pixels from the part's outline.
        light: throws the shadow.
        rng: draws where the weave and the dust happen to be.
    """
    size = outside.shape[0]
    scale = size / 256
    x = np.arange(size, dtype=np.float32) / np.float32(scale)
    phase_x, phase_y = rng.uniform(0, 2 * np.pi, 2)
    weave_x = np.sin(x * np.float32(2 * np.pi / 5.3) + np.float32(phase_x))
    weave_y = np.sin(x * np.float32(2 * np.pi / 4.1) + np.float32(phase_y))
    tone = 1 + np.float32(0.17) * weave_x[None, :] * weave_y[:, None]
    mottled = np.asarray(cv2.resize(rng.standard_normal((48, 48), dtype=np.float32), (size, size)), np.float32)
    tone = tone + np.float32(0.10) * mottled
    dust = rng.integers(0, size, (int(rng.integers(4, 14)), 2))
    specks = np.zeros((size, size), np.float32)
    specks[dust[:, 0], dust[:, 1]] = rng.uniform(0.5, 2.5, len(dust)).astype(np.float32) * np.float32(scale * scale)
    tone += np.asarray(cv2.GaussianBlur(specks, (0, 0), 0.7 * scale), np.float32) * 2

    # The shadow falls away from the lamp; its edge softens with the part's thickness.
    reach = 7 * scale
    shift = np.array(
        [[1, 0, -reach * np.cos(light.azimuth)], [0, 1, -reach * np.sin(light.azimuth)]],
        np.float32,
    )
    moved = cv2.warpAffine(outside, shift, (size, size), borderMode=cv2.BORDER_REPLICATE)
    cast = np.clip(np.asarray(moved, np.float32) / np.float32(9 * scale) + np.float32(0.35), 0, 1)
    contact = np.clip(outside / np.float32(12 * scale), 0, 1)
    lit = (np.float32(0.32) + np.float32(0.68) * cast) * (np.float32(0.55) + np.float32(0.45) * contact)
    strength = np.float32(0.9 * light.ambient + 0.9 * light.key + 0.25)
    out: FloatMap = (tone * lit) * (_RUBBER * strength * np.array(light.colour, np.float32))[:, None, None]
    return out


def draw_holes(hole: FloatMap, light: Light) -> FloatMap:
    """Linear light from inside the holes, float32 (3, S, S) BGR: black, with the far wall catching a little light."""
    scale = hole.shape[0] / 256
    reach = 2.2 * scale
    shift = np.array(
        [[1, 0, -reach * np.cos(light.azimuth)], [0, 1, -reach * np.sin(light.azimuth)]],
        np.float32,
    )
    floor = np.asarray(cv2.warpAffine(hole, shift, hole.shape[::-1]), np.float32)
    wall = np.clip(hole - floor, 0, 1) * np.float32(0.35 * light.key + 0.05)
    dark = np.float32(0.012) + np.asarray(cv2.GaussianBlur(wall, (0, 0), 0.8 * scale), np.float32)
    return dark * np.array(light.colour, np.float32)[:, None, None]
