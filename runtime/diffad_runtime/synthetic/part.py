"""A machined part as a surface: height, grain and holes of a flange lying at some pose in the picture.

Knows the geometry, the tool marks and where the holes are. Does not know light, camera, belt or defects.
Lengths of a shape are shares of the picture's side, so that one shape serves every size.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from diffad_runtime.result import FloatMap


@dataclass(frozen=True, slots=True)
class Hole:
    """A drilled hole with a 45 degree countersink. Position from the part's centre; all in shares of the side."""

    x: float
    y: float
    radius: float
    chamfer: float


@dataclass(frozen=True, slots=True)
class Shape:
    """The drawing of a part. `holes[0]` is the bore in the middle, the rest are bolt and dowel holes.

    Attributes:
        half_side: half width of the plate, or radius of the disc.
        corner: corner radius; equal to half_side for a disc.
        chamfer: width of the outer edge break.
        turned_to: radius up to which the face is turned; outside it is brushed along x.
        boss: (radius, width, rise) of the step from the raised hub down to the face.
        groove: (radius, half width, depth) of a turned groove.
    """

    half_side: float
    corner: float
    chamfer: float
    turned_to: float
    boss: tuple[float, float, float]
    groove: tuple[float, float, float]
    holes: tuple[Hole, ...]


def _circle_of_holes(count: int, pitch_radius: float, radius: float, chamfer: float) -> tuple[Hole, ...]:
    angles = 2 * np.pi * (np.arange(count) + 0.5) / count
    return tuple(
        Hole(pitch_radius * float(np.cos(t)), pitch_radius * float(np.sin(t)), radius, chamfer) for t in angles
    )


SHAPES: dict[str, Shape] = {
    "plate": Shape(
        half_side=0.36,
        corner=0.075,
        chamfer=0.013,
        turned_to=0.205,
        boss=(0.205, 0.012, 0.010),
        groove=(0.160, 0.006, 0.005),
        holes=(
            Hole(0.0, 0.0, 0.100, 0.014),
            *_circle_of_holes(4, 0.272 * 2**0.5, 0.034, 0.011),
            Hole(0.276, 0.0, 0.015, 0.006),
        ),
    ),
    "disc": Shape(
        half_side=0.405,
        corner=0.405,
        chamfer=0.014,
        turned_to=0.5,
        boss=(0.185, 0.014, 0.014),
        groove=(0.352, 0.006, 0.005),
        holes=(
            Hole(0.0, 0.0, 0.092, 0.014),
            *_circle_of_holes(6, 0.268, 0.034, 0.010),
            Hole(0.268, 0.0, 0.014, 0.006),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the part lies: rotation in radians, offset from the picture's centre in pixels."""

    angle: float
    dx: float
    dy: float

    def to_frame(self, points: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
        """Part coordinates, shares of the side, (N, 2) -> pixel coordinates (N, 2)."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        turned = points @ np.array([[c, s], [-s, c]])
        centre = np.array([self.dx, self.dy]) + (size - 1) / 2
        return np.asarray(turned * size + centre, np.float64)


@dataclass(frozen=True, slots=True)
class Surface:
    """What light falls on. All maps are float32 (S, S) in picture coordinates.

    Attributes:
        height: pixels above the face.
        metal: share of the pixel that is metal.
        hole: share of the pixel that is open hole.
        outside: distance in pixels from the part's outline, negative inside.
        tangent_x, tangent_y: unit direction of the tool marks.
        grain: tool marks, zero mean, about unit variance.
        matte: 0 bare metal, 1 fully diffuse.
        albedo: float32 (3, S, S) BGR reflectance; planes, because numpy is slow on a last axis of three.
    """

    height: FloatMap
    metal: FloatMap
    hole: FloatMap
    outside: FloatMap
    tangent_x: FloatMap
    tangent_y: FloatMap
    grain: FloatMap
    matte: FloatMap
    albedo: FloatMap


def with_tolerance(shape: Shape, rng: np.random.Generator) -> Shape:
    """The same drawing, made on a real machine: radii, chamfers and hole places off by a few tenths of a percent."""

    def off(value: float, share: float) -> float:
        return value * (1 + share * float(rng.standard_normal()))

    holes = tuple(
        Hole(off(h.x, 0.002), off(h.y, 0.002), off(h.radius, 0.008), off(h.chamfer, 0.06)) for h in shape.holes
    )
    return replace(shape, chamfer=off(shape.chamfer, 0.06), holes=holes)


def machine_part(shape: Shape, pose: Pose, size: int, rng: np.random.Generator) -> Surface:
    """Cut a part.

    Args:
        shape: what to cut.
        pose: where it lies.
        size: side S of the picture in pixels.
        rng: draws the tool marks; they do not depend on the holes.
    """
    x = np.arange(size, dtype=np.float32)[None, :] - np.float32((size - 1) / 2 + pose.dx)
    y = np.arange(size, dtype=np.float32)[:, None] - np.float32((size - 1) / 2 + pose.dy)
    c, s = np.float32(np.cos(pose.angle)), np.float32(np.sin(pose.angle))
    u, v = c * x + s * y, c * y - s * x
    radius, theta = (np.asarray(m, np.float32) for m in cv2.cartToPolar(u, v))

    half, corner = shape.half_side * size, shape.corner * size
    qx, qy = np.abs(u) - np.float32(half - corner), np.abs(v) - np.float32(half - corner)
    beyond_x, beyond_y = np.maximum(qx, 0), np.maximum(qy, 0)
    outside = (
        # Not cv2.magnitude: OpenCV 4.6 and 4.8 give the same input another last bit from call to call.
        np.sqrt(beyond_x * beyond_x + beyond_y * beyond_y) + np.minimum(np.maximum(qx, qy), 0) - np.float32(corner)
    )

    height = np.clip(-outside, 0, shape.chamfer * size) - np.float32(shape.chamfer * size)
    boss_r, boss_w, rise = (value * size for value in shape.boss)
    height += np.float32(rise) * np.clip((boss_r - radius) / np.float32(boss_w) + 1, 0, 1)
    groove_r, groove_w, depth = (value * size for value in shape.groove)
    height -= np.float32(depth) * np.clip(1.5 - 1.5 * np.abs(radius - groove_r) / np.float32(groove_w), 0, 1)

    hole = np.zeros((size, size), np.float32)
    for h in shape.holes:
        _drill(h, height, hole, pose, size)
    metal = np.clip(0.5 - outside, 0, 1) * (1 - hole)

    turned = np.clip((shape.turned_to * size - radius) + np.float32(0.5), 0, 1)
    safe = np.maximum(radius, 1)
    tangent_x = turned * (-y / safe) + (1 - turned) * c
    tangent_y = turned * (x / safe) + (1 - turned) * s
    grain = turned * _turned_marks(radius, theta, size, rng)
    if shape.turned_to < shape.half_side:
        grain += (1 - turned) * _brushed_marks(u, v, size, rng)

    tone = np.float32(1 + 0.03 * rng.standard_normal())
    steel = np.array([1.0, 0.985, 0.955], np.float32) * tone
    cloud = smooth_noise(size, 5, rng)
    albedo = (1 + np.float32(0.03) * cloud) * steel[:, None, None]
    return Surface(height, metal, hole, outside, tangent_x, tangent_y, grain, np.zeros_like(hole), albedo)


def _drill(h: Hole, height: FloatMap, hole: FloatMap, pose: Pose, size: int) -> None:
    """Cut one hole into `height` and `hole`, in place, touching only the window around it."""
    cx, cy = pose.to_frame(np.array([[h.x, h.y]]), size)[0]
    reach = (h.radius + h.chamfer) * size + 2
    x0, x1 = max(0, int(cx - reach)), min(size, int(cx + reach) + 2)
    y0, y1 = max(0, int(cy - reach)), min(size, int(cy + reach) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    dx = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)
    dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
    beyond = np.sqrt(dx * dx + dy * dy) - np.float32(h.radius * size)
    chamfer = np.float32(h.chamfer * size)
    height[y0:y1, x0:x1] -= np.clip(chamfer - beyond, 0, chamfer)
    window = hole[y0:y1, x0:x1]
    np.maximum(window, np.clip(0.5 - beyond, 0, 1), out=window)


def _turned_marks(radius: FloatMap, theta: FloatMap, size: int, rng: np.random.Generator) -> FloatMap:
    """Concentric marks: noise in (angle, radius), long along the angle, on top of the feed of the tool."""
    n_theta, n_r = 128, int(0.75 * size)
    noise = rng.standard_normal((n_theta, n_r), dtype=np.float32)
    wrapped = np.concatenate([noise[-24:], noise, noise[:24]])
    marks = cv2.GaussianBlur(wrapped, (0, 0), sigmaX=0.45, sigmaY=7.0)[24:-24]
    ring = rng.standard_normal((1, n_r), dtype=np.float32)
    marks = marks / marks.std() + 0.9 * ring
    polar = np.asarray(
        cv2.remap(
            np.concatenate([marks, marks[:1]]).astype(np.float32),
            radius,
            theta * np.float32(n_theta / (2 * np.pi)),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )
    period = size * 0.0135
    feed = np.sin(radius * np.float32(2 * np.pi / period) + np.float32(rng.uniform(0, 2 * np.pi)))
    out: FloatMap = np.float32(0.75) * polar + np.float32(0.45) * feed
    return out


def _brushed_marks(u: FloatMap, v: FloatMap, size: int, rng: np.random.Generator) -> FloatMap:
    """Straight marks along u: noise smeared along one direction, with a few deeper strokes."""
    span = int(1.25 * size)
    noise = rng.standard_normal((span, span // 2), dtype=np.float32)  # half resolution along the grain is enough
    fine = cv2.blur(noise, (max(3, size // 24), 1))
    strokes = cv2.blur(noise * noise * noise, (max(5, size // 9), 1))
    marks = fine / fine.std() + np.float32(0.7) * strokes / strokes.std()
    out: FloatMap = np.asarray(
        cv2.remap(
            marks.astype(np.float32),
            (u + np.float32(span / 2)) * np.float32(0.5),
            v + np.float32(span / 2),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )
    return np.float32(0.8) * out


def smooth_noise(size: int, cells: int, rng: np.random.Generator) -> FloatMap:
    """Unit-variance noise without detail finer than size / cells."""
    knots = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
