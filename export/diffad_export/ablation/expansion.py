"""From a study file to the rows of a plan, and everything that would otherwise show after hours.

Grids are crossed, rows stand alone, rows that come out the same are one. Knows fields and limits. Does not train, and
opens nothing but the study file and the configuration of runs that it names.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffad_export.ablation.paths import changed, check_path, flatten, short_names
from diffad_export.ablation.settings import ABSENT, OF_STUDENTS, OF_TEACHERS, RowConfig, Setting, is_of_student
from diffad_export.ablation.study import Plan, Row, Study
from diffad_export.ablation.studyfile import read_study_file
from diffad_export.backbone.registry import BACKBONES
from diffad_export.config import PRESETS
from diffad_export.reconstructor import levels_of
from diffad_export.runset import RunSet, open_runs
from diffad_runtime.errors import InputError

MOST = 500
"""Rows times seeds; beyond that a study is a mistake."""


def load_plan(path: Path, run: Path | None = None) -> Plan:
    """Read a study file, and expand it.

    Args:
        run: a run, or a folder of runs, to use instead of what [base] says of teachers.

    Raises:
        InputError: a file or a run that cannot be read, an unknown key, a value that does not fit, too many rows.
        MissingExtraError: as `read_study_file`.
    """
    value = read_study_file(path)
    try:
        study = Study.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        mend = f"Change {place or 'one of them'}"
        if first["type"] == "extra_forbidden":
            mend = f"Allowed: {', '.join(Study.model_fields)}; values of TrainConfig belong under [base]"
        got = "" if first["type"] == "missing" or not place else f", got {first['input']!r}"
        raise InputError(f"{path}: {place + ': ' if place else ''}{first['msg']}{got}", mend=mend) from None
    return expand(study, str(path), run)


def expand(study: Study, source: str = "study", run: Path | None = None) -> Plan:
    """Rows of a study: grids first, then single rows; of rows that come out the same, one.

    Args:
        source: the file, for messages.
        run: as `load_plan`.

    Raises:
        InputError: an unknown key, a value that does not fit, a name given twice, too many rows.
    """
    base, runs = _base(study, source, run)
    grids = [_flat(grid, f"{source}: grid {number}") for number, grid in enumerate(study.grid, 1)]
    _check_size(study, grids, source)
    seeds = (base.seed,) if study.seeds is None else study.seeds
    rows: dict[Setting, Row] = {}
    own: dict[Setting, list[dict[str, Any]]] = {}
    for where, name, changes in _single(study, grids, source):
        setting = _setting(base, changes, study, runs, where)
        before = rows.get(setting)
        if before is None or (name and not before.given):
            rows[setting] = Row(name or "", name is not None, setting)
        elif name and name != before.name:
            raise InputError(f"{where}: the same as the row {before.name!r}", mend="Leave one of them out")
        own.setdefault(setting, []).append(changes)
    named = dict.fromkeys(path for every in own.values() for changes in every for path in changes)
    varied = tuple(path for path in named if len({setting.words(path) for setting in rows} - {ABSENT}) > 1)
    short = short_names(varied)
    made = []
    for setting, row in rows.items():
        at = {path: setting.words(path) for path in varied}
        found = [", ".join(f"{short[p]}={at[p]}" for p in every if p in at) or "base" for every in own[setting]]
        names = tuple(dict.fromkeys([row.name, *found] if row.given else found))
        made.append(replace(row, name=names[0], values=tuple(at.values()), names=names))
    made = _apart(made, source)
    plan = Plan(study, tuple(made), varied, tuple(short.values()), seeds, base.score, runs)
    return _against(plan if study.columns else _without_columns(plan, source), source)


def _base(study: Study, source: str, run: Path | None) -> tuple[RowConfig, RunSet | None]:
    where, values = f"{source}: base", dict(study.base)
    preset, named = values.pop("preset", "compact"), values.pop("run", None)
    if preset not in PRESETS:
        raise InputError(f"{where}: unknown preset {preset!r}", mend=f"Choose from: {', '.join(PRESETS)}")
    if named is not None and not isinstance(named, str):
        raise InputError(f"{where}: run: expected a folder, got {named!r}", mend='Write it as in: run = "runs/all"')
    changes = _flat(values, where)
    for path in changes:
        check_path(path, where, RowConfig)
    if run is None and named is None:
        _check_seed(changes, study, f"{where}: a seed, and seeds besides")
        return changed(_row_config(PRESETS[preset].model_dump()), changes, where), None
    if run is not None:  # what the file says of training, or of another run, gives way
        changes = {path: value for path, value in changes.items() if not _is_of_training(path)}
    else:
        for name, there in (("preset", "preset" in study.base), ("teacher_seed", study.teacher_seed is not None)):
            if there:
                raise InputError(f"{where}: {name}, and a run that is trained already", mend="Leave one of them out")
    runs = open_runs(Path(named or "") if run is None else run)
    for other in runs.runs[1:]:
        if other.config.score != runs.first.config.score:
            raise InputError(
                f"runs in {runs.folder} differ in score: {other.folder.name} and {runs.first.folder.name}",
                mend="Study them one by one",
            )
    if study.unified and len(runs.runs) > 1:
        raise InputError(f"{where}: unified, and {len(runs.runs)} runs", mend="Leave unified out: a run is what it is")
    _check_trained(changes, runs, where)
    return changed(_row_config(runs.first.config.model_dump()), changes, where), runs


def _row_config(train: Mapping[str, Any]) -> RowConfig:
    return RowConfig.model_validate(dict(train))


def _setting(base: RowConfig, changes: Mapping[str, Any], study: Study, runs: RunSet | None, where: str) -> Setting:
    """One row.

    Raises:
        InputError: as `expand`.
    """
    _check_seed(changes, study, f"{where}: seed is varied, and seeds are given")
    config = changed(base, changes, where)
    if runs is not None:
        _check_trained(changes, runs, where)
    student = is_of_student(changes)
    if student:
        for path in changes:
            if path.partition(".")[0] in OF_TEACHERS:
                raise InputError(
                    f"{where}: {path} is of a teacher's row, and this is a student's",
                    mend="Give it a row of its own; a student is scored by student_score",
                )
        if "student_score.chain_steps" in changes:
            raise InputError(
                f"{where}: student_score.chain_steps: a student is scored at its own levels",
                mend="Set distil.steps and distil.chain_steps",
            )
    _check_config(config, where, student=student)
    train = config.train
    if student:
        return Setting(train, config.student)
    return Setting(train, chain=config.chain)


def _is_of_training(path: str) -> bool:
    return path.partition(".")[0] not in (*OF_STUDENTS, *OF_TEACHERS)


def _check_seed(changes: Mapping[str, Any], study: Study, what: str) -> None:
    if study.seeds is not None and ("seed" in changes or "distil.seed" in changes):
        raise InputError(what, mend="Use one of the two")


def _check_trained(changes: Mapping[str, Any], runs: RunSet, where: str) -> None:
    for path in changes:
        if _is_of_training(path):
            raise InputError(
                f"{where}: {path} is a setting of training, and {runs.folder} is trained already",
                mend="Beside a run only score.*, chain, distil.*, student_score.* and precision can be set",
            )


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


def _check_config(config: RowConfig, where: str, *, student: bool) -> None:
    """What would otherwise show after hours."""
    if config.backbone not in BACKBONES:
        raise InputError(f"{where}: unknown backbone {config.backbone!r}", mend=f"Choose from: {', '.join(BACKBONES)}")
    _check_levels("score.chain_steps", config.score.chain_steps, config, where)
    middle = config.score.chain_steps[len(config.score.chain_steps) // 2]
    if config.chain > middle + 1:
        raise InputError(
            f"{where}: chain: from step {middle} there are at most {middle + 1} evaluations, got {config.chain}",
            mend="Ask for fewer, or let the middle one of score.chain_steps be higher",
        )
    if not student:
        return
    distil = config.distil
    if distil.chain_steps is not None and distil.losses.teacher > 0:
        _check_levels("distil.chain_steps", distil.chain_steps, config, where)
    if distil.losses.consistency > 0 and distil.steps == 1:
        raise InputError(
            f"{where}: distil.losses.consistency: consistency between levels needs more than one, and steps is 1",
            mend="Set distil.steps to 2 or 4, or leave it out",
        )


def _check_levels(path: str, steps: tuple[int, ...], config: RowConfig, where: str) -> None:
    for step, level in zip(steps, levels_of(steps), strict=True):
        if level.timestep >= config.teacher.max_timestep:
            raise InputError(
                f"{where}: {path}: step {step} is t = {level.timestep}, and the teacher is trained "
                f"below t = {config.teacher.max_timestep}",
                mend="Leave the step out, or raise teacher.max_timestep",
            )


def _against(plan: Plan, source: str) -> Plan:
    wanted = plan.study.against
    if wanted is None:
        return plan
    found = plan.find(wanted)
    if not found:
        unknown = plan.no_row(wanted)
        raise InputError(f"{source}: against: {unknown.what}", mend=unknown.mend)
    if len(found) > 1:
        raise InputError(
            f"{source}: against: {wanted!r} fits {len(found)} rows, expected one",
            mend=f"Choose from: {'; '.join(row.name for row in found)}",
        )
    return replace(plan, against=found[0])


def _without_columns(plan: Plan, source: str) -> Plan:
    nameless = [row.name for row in plan.rows if not row.given]
    if nameless:
        raise InputError(
            f"{source}: without columns every row needs a name, and {nameless[0]!r} has none",
            mend="Name it, or leave columns on",
        )
    return replace(plan, rows=tuple(replace(row, values=()) for row in plan.rows), varied=(), headings=())


def _apart(rows: list[Row], source: str) -> list[Row]:
    """Rows that are each called as no other is; what one that has a name would be called besides may go."""
    called = Counter(name for row in rows for name in row.names)
    firsts = Counter(row.name for row in rows)
    for name, count in firsts.items():
        if count > 1 or any(name in row.names[1:] and not row.given for row in rows):
            raise InputError(f"{source}: two rows are named {name!r}", mend="Give each a name of its own")
    kept = []
    for row in rows:
        names = [name for name in row.names if name == row.name or (called[name] == 1 and name not in firsts)]
        kept.append(replace(row, names=tuple(names)))
    return kept
