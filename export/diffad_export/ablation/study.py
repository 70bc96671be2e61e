"""A study: what is held fast, what is varied, and the rows that come of it.

    version = 1
    name = "paper-table-2"
    seeds = [0, 1]                  # optional: every row once a seed
    unified = false                 # true: one teacher for all categories
    confidence = true               # bootstrap intervals over images
    [base]                          # preset, then any values of TrainConfig
    preset = "compact"
    size = 256
    [[grid]]                        # the keys of one grid are crossed; several grids stand one after the other
    "features.grid_stride" = [4, 8, 16]
    score = [{ feature_score = "residual", alpha = 0.5 }, { feature_score = "whitened" }]    # tables vary together
    [[row]]                         # one row more; the name may be left out
    name = "alpha 0.5"
    "score.alpha" = 0.5
    [references]
    names = ["padim", "patchcore"]

Knows fields and their expansion. Does not train, and knows no data.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from diffad_calibration.evaluation import REFERENCES
from diffad_export.ablation.paths import changed, flatten, short_names, value_at, words
from diffad_export.ablation.studyfile import read_study_file
from diffad_export.backbone.registry import BACKBONES
from diffad_export.config import PRESETS, TrainConfig
from diffad_export.reconstructor import levels_of
from diffad_runtime.errors import InputError

MOST = 500
"""Rows times seeds; beyond that a study is a mistake."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class References(_Strict):
    """Published detectors beside the rows, once a size."""

    names: tuple[str, ...] = ()

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in REFERENCES]:
            raise ValueError(f"unknown {', '.join(unknown)}; choose from {', '.join(REFERENCES)}")
        return tuple(dict.fromkeys(names))


class Study(_Strict):
    """The file."""

    version: Literal[1]
    name: str = Field(min_length=1)
    base: dict[str, Any] = {}
    grid: tuple[dict[str, Any], ...] = ()
    row: tuple[dict[str, Any], ...] = ()
    references: References = References()
    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)
    unified: bool = False
    confidence: bool = True

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if seeds is not None and len(set(seeds)) != len(seeds):
            raise ValueError("a seed is named twice")
        return seeds


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: as given, or made of what is varied; no two are the same.
        given: whether the file names it.
        config: resolved, at the base's seed.
        values: of the varied paths, in words.
        names: all that it goes by: several places of a file may come out the same.
    """

    name: str
    given: bool
    config: TrainConfig
    values: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def at(self, seed: int) -> TrainConfig:
        """The same with another seed."""
        return self.config.model_copy(update={"seed": seed})


@dataclass(frozen=True, slots=True)
class Plan:
    """A study, expanded.

    Attributes:
        varied: the paths in which rows differ.
        headings: of them, as short as they are clear.
        seeds: of every row.
    """

    study: Study
    rows: tuple[Row, ...]
    varied: tuple[str, ...]
    headings: tuple[str, ...]
    seeds: tuple[int, ...]

    def select(self, only: Sequence[str]) -> tuple[Row, ...]:
        """Rows by name or shell pattern; all where `only` is empty.

        Raises:
            InputError: a name that no row has.
        """
        if not only:
            return self.rows
        chosen: set[str] = set()
        for name in only:
            found = [row.name for row in self.rows if name in row.names]
            found = found or [row.name for row in self.rows if any(fnmatchcase(one, name) for one in row.names)]
            if not found:
                listed = "; ".join(row.name for row in self.rows)
                raise InputError(f"no row of {self.study.name} is named {name!r}", mend=f"Choose from: {listed}")
            chosen.update(found)
        return tuple(row for row in self.rows if row.name in chosen)


def load_plan(path: Path) -> Plan:
    """Read a study file, and expand it.

    Raises:
        InputError: a file that cannot be read, an unknown key, a value that does not fit, too many rows.
        MissingExtraError: as `read_study_file`.
    """
    value = read_study_file(path)
    try:
        study = Study.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        mend = f"Change {place}"
        if first["type"] == "extra_forbidden":
            mend = f"Allowed: {', '.join(Study.model_fields)}; values of TrainConfig belong under [base]"
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise InputError(f"{path}: {place}: {first['msg']}{got}", mend=mend) from None
    return expand(study, str(path))


def expand(study: Study, source: str = "study") -> Plan:
    """Rows of a study: grids first, then single rows; of rows that come out the same, one.

    Args:
        source: the file, for messages.

    Raises:
        InputError: an unknown key, a value that does not fit, a name given twice, too many rows.
    """
    base = _base(study, source)
    grids = [_flat(grid, f"{source}: grid {number}") for number, grid in enumerate(study.grid, 1)]
    _check_size(study, grids, source)
    seeds = (base.seed,) if study.seeds is None else study.seeds
    rows: dict[TrainConfig, Row] = {}
    own: dict[TrainConfig, list[dict[str, Any]]] = {}
    for where, name, changes in _single(study, grids, source):
        if "seed" in changes and study.seeds is not None:
            raise InputError(f"{where}: seed is varied, and seeds are given", mend="Use one of the two")
        config = changed(base, changes, where)
        _check_config(config, where)
        before = rows.get(config)
        if before is None or (name and not before.given):
            rows[config] = Row(name or "", name is not None, config)
        elif name and name != before.name:
            raise InputError(f"{where}: the same as the row {before.name!r}", mend="Leave one of them out")
        own.setdefault(config, []).append(changes)
    named = dict.fromkeys(path for every in own.values() for changes in every for path in changes)
    varied = tuple(path for path in named if len({value_at(config, path) for config in rows}) > 1)
    short = short_names(varied)
    made = []
    for config, row in rows.items():
        at = {path: words(value_at(config, path)) for path in varied}
        found = [", ".join(f"{short[p]}={at[p]}" for p in every if p in at) or "base" for every in own[config]]
        names = tuple(dict.fromkeys([row.name, *found] if row.given else found))
        made.append(replace(row, name=names[0], values=tuple(at.values()), names=names))
    _check_names(made, source)
    return Plan(study, tuple(made), varied, tuple(short.values()), seeds)


def _base(study: Study, source: str) -> TrainConfig:
    where, values = f"{source}: base", dict(study.base)
    preset = values.pop("preset", "compact")
    if preset not in PRESETS:
        raise InputError(f"{where}: unknown preset {preset!r}", mend=f"Choose from: {', '.join(PRESETS)}")
    changes = _flat(values, where)
    if "seed" in changes and study.seeds is not None:
        raise InputError(f"{where}: a seed, and seeds besides", mend="Use one of the two")
    base = changed(PRESETS[preset], changes, where)
    _check_config(base, where)
    return base


def _single(study: Study, grids: list[dict[str, Any]], source: str) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Place in the file, name where given, changes to the base; one a row, repeated ones too."""
    for number, grid in enumerate(grids, 1):
        for choice in product(*grid.values()):
            where = f"{source}: grid {number}"
            yield where, None, _flat(dict(zip(grid, choice, strict=True)), where)
    for number, values in enumerate(study.row, 1):
        changes = dict(values)
        name = changes.pop("name", None)
        where = f"{source}: row {number}"
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise InputError(f"{where}: name: expected a few words, got {name!r}", mend="Name it, or leave it out")
        yield where, name, _flat(changes, where)
    if not grids and not study.row:
        yield f"{source}: base", None, {}


def _flat(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Dotted path -> value; a value that is given twice, by its table and by its path, is refused."""
    flat: dict[str, Any] = {}
    for path, value in flatten(table):
        if path in flat:
            raise InputError(f"{where}: {path} is given twice", mend="Leave one of them out")
        flat[path] = value
    return flat


def _check_size(study: Study, grids: list[dict[str, Any]], source: str) -> None:
    for number, grid in enumerate(grids, 1):
        for path, choices in grid.items():
            if not isinstance(choices, list) or not choices:
                raise InputError(
                    f"{source}: grid {number}: {path}: expected a list of values, got {choices!r}",
                    mend=f"Write it as in: {path} = [a, b]; a single value belongs under [base] or [[row]]",
                )
    single = sum(math.prod(map(len, grid.values())) for grid in grids) + len(study.row)
    count = max(1, single) * len(study.seeds or (0,))
    if count > MOST:
        raise InputError(f"{source} asks for {count} rows, at most {MOST} are run", mend="Cross fewer values")


def _check_config(config: TrainConfig, where: str) -> None:
    """What would otherwise show after hours."""
    if config.backbone not in BACKBONES:
        raise InputError(f"{where}: unknown backbone {config.backbone!r}", mend=f"Choose from: {', '.join(BACKBONES)}")
    for step, level in zip(config.score.chain_steps, levels_of(config.score.chain_steps), strict=True):
        if level.timestep >= config.teacher.max_timestep:
            raise InputError(
                f"{where}: score.chain_steps: step {step} is t = {level.timestep}, and the teacher is trained "
                f"below t = {config.teacher.max_timestep}",
                mend="Leave the step out, or raise teacher.max_timestep",
            )


def _check_names(rows: list[Row], source: str) -> None:
    seen: set[str] = set()
    for row in rows:
        if twice := seen.intersection(row.names):
            raise InputError(f"{source}: two rows are named {min(twice)!r}", mend="Give each a name of its own")
        seen.update(row.names)
