"""Defects cut into a surface: scratches, dents, stains. (A missing hole is a part machined otherwise: line.py.)

Knows where on the part a defect may lie and how it alters height, finish and reflectance. Does not know light or
camera; the mask is taken later from what really changed in the picture.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.result import FloatMap
from diffad_runtime.synthetic.part import Pose, Shape, Surface, smooth_noise

_FACE_TRIES = 200


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged surface, and the pixels that the damage may have touched (bool (S, S))."""

    surface: Surface
    support: npt.NDArray[np.bool_]


def scratch(surface: Surface, shape: Shape, pose: Pose, rng: np.random.Generator, strength: float) -> Damage:
    """A furrow with raised lips along a slightly bent path, fading in and out; length and width log-uniform."""
    size = surface.height.shape[0]
    scale = size / 256
    length = float(np.exp(rng.uniform(np.log(0.10), np.log(0.60))))
    steps = max(8, int(60 * length))
    turn = rng.normal(0, 0.9) * np.linspace(-0.5, 0.5, steps) + np.cumsum(rng.normal(0, 0.05, steps))
    heading = rng.uniform(0, 2 * np.pi) + turn
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * (length / steps), axis=0)
    path += _place_on_face(shape, rng) - path[steps // 2]
    pixels = pose.to_frame(path, size)

    width = float(np.exp(rng.uniform(np.log(0.8), np.log(2.3)))) * scale
    depth = np.clip(np.sin(np.linspace(0.12, np.pi - 0.12, steps)) ** 0.5 + rng.normal(0, 0.1, steps), 0.45, 1)
    furrow = np.zeros((size, size), np.float32)
    points = np.round(pixels * 16).astype(np.int32)
    stroke = max(1, round(width))
    for start, end, level in zip(points[:-1], points[1:], depth[:-1], strict=True):
        cv2.line(furrow, start.tolist(), end.tolist(), float(level), stroke, cv2.LINE_8, 4)
    furrow = _blur(furrow, 0.45 * width + 0.35 * scale)
    lips = _blur(furrow, 1.1 * width)
    bright = rng.random() < 0.7
    height = surface.height + np.float32(strength * 1.1 * scale) * (np.float32(0.8) * lips - furrow)
    finish = np.float32(min(0.9, 0.55 * strength)) * furrow
    tone = np.float32(strength * (0.5 if bright else -0.55)) * furrow
    return Damage(
        replace(
            surface,
            height=height,
            matte=np.maximum(surface.matte, finish),
            albedo=surface.albedo * np.maximum(1 + tone, 0.1),
        ),
        _grown(furrow > 0.02, 2 * scale),
    )


def dent(surface: Surface, shape: Shape, pose: Pose, rng: np.random.Generator, strength: float) -> Damage:
    """A struck hollow with a soft rim: one side turns to the lamp, the other away. Radius log-uniform."""
    size = surface.height.shape[0]
    scale = size / 256
    radius = float(np.exp(rng.uniform(np.log(0.018), np.log(0.075)))) * size
    aspect = rng.uniform(0.6, 1.0)
    turn = rng.uniform(0, np.pi)
    cx, cy = pose.to_frame(_place_on_face(shape, rng, margin=0.01)[None], size)[0]
    x = np.arange(size, dtype=np.float32)[None, :] - np.float32(cx)
    y = np.arange(size, dtype=np.float32)[:, None] - np.float32(cy)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    wobble = 1 + np.float32(0.16) * smooth_noise(size, 9, rng)
    distance = np.sqrt((c * x + s * y) ** 2 + ((c * y - s * x) / np.float32(aspect)) ** 2) * wobble / np.float32(radius)
    hollow = np.exp(-0.5 * (distance / np.float32(0.45)) ** 2 * (1 + np.float32(0.4) * distance))
    rim = np.exp(-0.5 * ((distance - 1) / np.float32(0.22)) ** 2)
    depth = np.float32(strength * (0.22 * radius + 0.4 * scale) * rng.uniform(0.7, 1.2))
    height = surface.height - depth * (hollow - np.float32(0.10) * rim)
    crushed = np.float32(0.45) * np.clip(1.4 - distance, 0, 1)
    return Damage(
        replace(
            surface,
            height=height,
            grain=surface.grain * (1 - crushed),
            matte=np.maximum(surface.matte, np.float32(0.35) * crushed),
            albedo=surface.albedo * (1 - np.float32(0.10 * strength) * hollow),
        ),
        distance < 1.8,
    )


def stain(surface: Surface, shape: Shape, pose: Pose, rng: np.random.Generator, strength: float) -> Damage:
    """Rust, dried coolant or oil: a ragged blot with a drying edge that tints and dulls the metal. Area log-uniform."""
    size = surface.height.shape[0]
    radius = float(np.exp(rng.uniform(np.log(0.028), np.log(0.13)))) * size
    cx, cy = pose.to_frame(_place_on_face(shape, rng)[None], size)[0]
    x = (np.arange(size, dtype=np.float32)[None, :] - np.float32(cx)) / np.float32(radius * rng.uniform(0.75, 1.25))
    y = (np.arange(size, dtype=np.float32)[:, None] - np.float32(cy)) / np.float32(radius * rng.uniform(0.75, 1.25))
    coarse = smooth_noise(size, max(4, int(0.9 * size / radius)), rng)
    fine = smooth_noise(size, min(size // 3, int(3.5 * size / radius)), rng)
    level = 1 - np.sqrt(x * x + y * y) + np.float32(0.28) * coarse + np.float32(0.09) * fine
    soft = np.float32(rng.uniform(0.15, 0.5))
    body = np.clip(level / soft, 0, 1)
    body = body * body * (3 - 2 * body)
    kind = int(rng.integers(3))
    # absorbed share per channel (BGR), drying edge, patchiness, dulling
    absorbed, edge, patchy, dull = (
        (np.array([0.62, 0.42, 0.20], np.float32), 0.10, 0.25, 0.75),  # rust
        (np.array([0.26, 0.22, 0.20], np.float32), 0.30, 0.10, 0.35),  # dried coolant
        (np.array([0.50, 0.44, 0.36], np.float32), 0.05, 0.08, 0.15),  # oil
    )[kind]
    rim = np.exp(-0.5 * ((level - np.float32(0.12)) / np.float32(0.10)) ** 2) * (body > 0)
    amount = np.clip(body * (1 + np.float32(patchy) * fine) + np.float32(edge) * rim, 0, 1.4)
    amount *= np.float32(strength * rng.uniform(0.7, 1.1))
    tint = np.clip(1 - amount * absorbed[:, None, None], 0.08, 1)
    matte = np.maximum(surface.matte, np.clip(np.float32(dull) * amount, 0, 0.9))
    return Damage(
        replace(surface, albedo=surface.albedo * tint, matte=matte, grain=surface.grain * (1 - np.float32(0.3) * body)),
        body > 0.02,
    )


def _place_on_face(shape: Shape, rng: np.random.Generator, margin: float = 0.0) -> npt.NDArray[np.float64]:
    """A point on bare metal, at least `margin` away from edges and holes, in part coordinates (2,)."""
    point: npt.NDArray[np.float64] = np.array([0.5 * (shape.holes[0].radius + shape.half_side), 0.0])
    for _ in range(_FACE_TRIES):
        point = rng.uniform(-shape.half_side, shape.half_side, 2)
        q = np.abs(point) - (shape.half_side - shape.corner)
        outside = float(np.hypot(*np.maximum(q, 0)) + min(float(q.max()), 0.0) - shape.corner)
        in_hole = any(np.hypot(point[0] - h.x, point[1] - h.y) < h.radius + h.chamfer + margin for h in shape.holes)
        if outside < -(shape.chamfer + margin) and not in_hole:
            break
    return point


def _blur(image: FloatMap, sigma: float) -> FloatMap:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3)), np.float32)


def _grown(mask: npt.NDArray[np.bool_], pixels: float) -> npt.NDArray[np.bool_]:
    side = 2 * max(1, round(pixels)) + 1
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8))
    return np.asarray(grown, np.uint8) > 0
