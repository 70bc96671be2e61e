"""The production line: which part comes, how it lies, how the lamp drifts, what the sensor makes of it.

Knows how to put part, belt, light, defect and sensor together, frame by frame. Does not know files, clocks or URIs.
Frame i of a seed is the same picture in any process and whatever was drawn before it.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from diffad_runtime.errors import SourceError
from diffad_runtime.result import FloatMap, Image
from diffad_runtime.synthetic import defects
from diffad_runtime.synthetic.belt import draw_belt, draw_holes
from diffad_runtime.synthetic.part import SHAPES, Pose, Shape, Surface, machine_part, with_tolerance
from diffad_runtime.synthetic.shading import Light, shade

DefectKind = Literal["scratch", "dent", "stain", "missing_hole"]
DEFECT_KINDS: tuple[DefectKind, ...] = get_args(DefectKind)

VISIBLE_LEVELS = 7.0  # of 255: a pixel belongs to the mask when any channel changed by more, before sensor noise
_MIN_MASK_PIXELS = 14  # at 256 px; scales with the area
_MAX_TRIES = 40
_CUTS = {"scratch": defects.scratch, "dent": defects.dent, "stain": defects.stain}
# One random stream per concern: asking for a defect does not move the part or change its tool marks.
_PLAN, _PART, _LIGHT, _BELT, _SENSOR, _DEFECT = range(6)


class LineConfig(BaseModel):
    """What the line makes. Frozen; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    part: Literal["plate", "disc"] = Field(
        default="plate", description="square flange, or round flange with six bolt holes"
    )
    size: int = Field(default=256, ge=32, le=2048, description="side of the frame in pixels")
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="same seed, same line")
    defects: float = Field(default=0.1, ge=0, le=1, description="share of defective parts")
    rotate: float = Field(
        default=4.0, ge=0, le=180, description="largest rotation either way in degrees; 180 is any pose"
    )
    shift: float = Field(default=0.012, ge=0, le=0.1, description="largest offset either way, share of the side")
    drift: float = Field(default=1.0, ge=0, le=3, description="lighting drift; 0 holds the lamp still")
    noise: float = Field(default=1.0, ge=0, le=5, description="sensor noise; 0 is a noiseless sensor")

    _what: ClassVar[str] = "synthetic://line"

    @classmethod
    def from_query(cls, parameters: dict[str, str]) -> Self:
        """Check the parameters of a URI.

        Raises:
            SourceError: unknown parameter or bad value; names it and what is allowed.
        """
        unknown = sorted(set(parameters) - set(cls.model_fields))
        if unknown:
            raise SourceError(
                f"{cls._what} has no parameter {unknown[0]!r}", mend=f"Use one of {', '.join(cls.model_fields)}"
            )
        values: dict[str, Any] = dict(parameters)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0])
            about = cls.model_fields[name].description
            raise SourceError(
                f"{cls._what} parameter {name}={parameters.get(name)!r}: {first['msg']}", mend=f"{name} is: {about}"
            ) from error


@dataclass(frozen=True, slots=True)
class SyntheticFrame:
    """One picture of the line.

    Attributes:
        image: uint8 (S, S, 3), BGR.
        mask: uint8 (S, S), 255 where the defect changed the picture by more than VISIBLE_LEVELS before sensor noise.
            Gaps under five pixels inside the defect are closed, specks dropped. All 0 for a good part, and only then.
        kind: "good" or one of DEFECT_KINDS.
    """

    image: Image
    mask: Image
    kind: str


@dataclass(frozen=True, slots=True)
class _Scene:
    """A good part before the sensor: what a defect starts from."""

    shape: Shape
    pose: Pose
    light: Light
    surface: Surface
    belt: FloatMap
    picture: FloatMap


class SyntheticLine:
    """An endless line of parts, addressed by index."""

    def __init__(self, config: LineConfig | None = None) -> None:
        self.config = config or LineConfig()
        size = self.config.size
        axis = (np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)) / np.float32(size / 2)
        r2 = axis[None, :] ** 2 + axis[:, None] ** 2
        self._vignette: FloatMap = 1 - np.float32(0.085) * r2

    def frame(self, index: int, kind: str | None = None) -> SyntheticFrame:
        """Render frame `index`.

        Args:
            index: 0 or more.
            kind: "good" or a defect kind to force one; None lets the line decide at the configured rate.

        Raises:
            ValueError: negative index or unknown kind.
        """
        plan = self._stream(index, _PLAN)
        drawn = str(plan.choice(DEFECT_KINDS)) if plan.random() < self.config.defects else "good"
        kind = drawn if kind is None else kind
        if kind != "good" and kind not in DEFECT_KINDS:
            raise ValueError(f"kind {kind!r} is not one of {('good', *DEFECT_KINDS)}")
        pose = self._pose(plan)
        shape = with_tolerance(SHAPES[self.config.part], plan)
        light = self._light(index)

        surface = self._machine(shape, pose, index)
        belt = draw_belt(surface.outside, light, self._stream(index, _BELT))
        picture = self._expose(surface, belt, light)
        mask = np.zeros(picture.shape[:2], np.uint8)
        if kind != "good":
            picture, mask = self._spoil(kind, index, _Scene(shape, pose, light, surface, belt, picture))
        return SyntheticFrame(self._read_out(picture, index), mask, kind)

    def _stream(self, index: int, concern: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, index, concern])

    def _pose(self, rng: np.random.Generator) -> Pose:
        limit = self.config.shift * self.config.size
        dx, dy = rng.uniform(-limit, limit, 2)
        return Pose(float(np.deg2rad(rng.uniform(-1, 1) * self.config.rotate)), float(dx), float(dy))

    def _light(self, index: int) -> Light:
        """A lamp that ages and warms over hundreds of parts, plus what changes from one exposure to the next."""
        phases = np.random.default_rng([self.config.seed, _LIGHT]).uniform(0, 2 * np.pi, 3)
        rng = self._stream(index, _LIGHT)
        drift = self.config.drift
        slow = np.sin(2 * np.pi * index / np.array([611.0, 233.0, 947.0]) + phases)
        level = 1 + drift * (0.05 * slow[0] + 0.015 * rng.standard_normal())
        warm = drift * (0.018 * slow[2] + 0.004 * rng.standard_normal())
        return Light(
            azimuth=float(np.deg2rad(-122 + drift * (5 * slow[1] + 0.8 * rng.standard_normal()))),
            tilt=0.66,
            key=float(0.60 * level),
            fill=float(0.24 * level),
            ambient=float(0.14 * level),
            colour=(float(1 - warm), 1.0, float(1 + warm)),
        )

    def _machine(self, shape: Shape, pose: Pose, index: int) -> Surface:
        return machine_part(shape, pose, self.config.size, self._stream(index, _PART))

    def _expose(self, surface: Surface, belt: FloatMap, light: Light) -> FloatMap:
        """Noise-free picture through lens and square-root gamma, float32 (S, S, 3) in 0 .. 255."""
        scale = self.config.size / 256
        body = np.clip(0.5 - surface.outside, 0, 1)
        inside = draw_holes(surface.hole, light)
        linear = shade(surface, light) * surface.metal + inside * (body - surface.metal) + belt * (1 - body)
        linear *= self._vignette
        sharp = np.asarray(cv2.merge(list(np.clip(linear, 0, 1))), np.float32)
        soft = cv2.GaussianBlur(sharp, (0, 0), 0.55 * scale)
        out: FloatMap = np.sqrt(soft, dtype=np.float32) * np.float32(255)
        return out

    def _spoil(self, kind: str, index: int, scene: _Scene) -> tuple[FloatMap, Image]:
        """Draw defects, each bolder than the last, until one can be seen."""
        rng = self._stream(index, _DEFECT)
        strength = rng.uniform(0.85, 1.3)
        wanted = max(4.0, _MIN_MASK_PIXELS * (self.config.size / 256) ** 2)
        for _ in range(_MAX_TRIES):
            if kind == "missing_hole":
                damage = self._without_hole(scene, index, rng)
            else:
                damage = _CUTS[kind](scene.surface, scene.shape, scene.pose, rng, strength)
            seen = self._expose(damage.surface, scene.belt, scene.light)
            picture = np.where(damage.support[:, :, None], seen, scene.picture)
            mask = visible_change(scene.picture, picture, damage.support)
            if np.count_nonzero(mask) >= wanted:
                return picture, mask
            strength *= 1.2
        raise RuntimeError(f"no visible {kind} in {_MAX_TRIES} tries for {self.config!r}, frame {index}")

    def _without_hole(self, scene: _Scene, index: int, rng: np.random.Generator) -> defects.Damage:
        """One bolt or dowel hole is not drilled, or drilled too small by a worn or wrong tool."""
        holes, size = scene.shape.holes, self.config.size
        which = int(rng.integers(1, len(holes)))
        hole = holes[which]
        too_small = rng.random() < 0.35 and hole.radius * size > 5
        left = (replace(hole, radius=hole.radius * rng.uniform(0.35, 0.7)),) if too_small else ()
        shape = replace(scene.shape, holes=(*holes[:which], *left, *holes[which + 1 :]))
        cx, cy = scene.pose.to_frame(np.array([[hole.x, hole.y]]), size)[0]
        axis = np.arange(size)
        reach = (hole.radius + hole.chamfer) * size + 3
        support = (axis[None, :] - cx) ** 2 + (axis[:, None] - cy) ** 2 < reach**2
        return defects.Damage(self._machine(shape, scene.pose, index), support)

    def _read_out(self, picture: FloatMap, index: int) -> Image:
        """Shot and read noise of a small sensor, then 8 bits."""
        rng = self._stream(index, _SENSOR)
        noise = rng.standard_normal(picture.shape, dtype=np.float32)
        # After gamma the shot noise is nearly flat; the read noise shows in the dark.
        spread = np.float32(self.config.noise) * (np.float32(1.3) + np.float32(1.1) * (1 - picture / np.float32(255)))
        return np.clip(picture + spread * noise + np.float32(0.5), 0, 255).astype(np.uint8)


def visible_change(before: FloatMap, after: FloatMap, support: npt.NDArray[np.bool_]) -> Image:
    """Mask of the pixels inside `support` that changed by more than VISIBLE_LEVELS in any channel.

    Args:
        before, after: float32 (H, W, 3), 0 .. 255, without noise.
        support: bool (H, W).

    Returns:
        uint8 (H, W), 0 or 255.
    """
    changed = (np.abs(after - before).max(axis=2) > VISIBLE_LEVELS) & support
    # Without the frame around it, closing would grow whatever lies at the picture's edge.
    framed = cv2.copyMakeBorder(changed.astype(np.uint8), 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=0)
    closed = np.asarray(cv2.morphologyEx(framed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    mask = closed[3:-3, 3:-3].astype(np.bool_)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count > 1:
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        kept = areas >= max(4, 0.02 * areas.max())
        mask = kept[labels]
    return np.where(mask, np.uint8(255), np.uint8(0))
