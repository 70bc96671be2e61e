"""Jobs, parts, recipes and results as the structures of OPC 40100-1, clause 12.

Knows the fields of the structures. Does not know nodes. The classes themselves are made by asyncua from the node set
(space.py) and looked up by name. Imported only when used: needs asyncua.
"""

from datetime import datetime, timezone
from json import dumps
from typing import Any

from asyncua import ua

from diffad_runtime.line.job import LineState, Outcome
from diffad_runtime.line.opcua.results import result_state

MOST_CHARACTERS = 200
"""Of a string that a client sends."""


class BadArgument(Exception):  # noqa: N818  no error of ours
    """An argument of a method that is none; its place, counted from 0."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def make(name: str, **fields: Any) -> Any:
    """A structure of OPC 40100-1, as in make("JobIdDataType", Id="4711")."""
    return vars(ua)[name](**fields)


def identifier(arguments: tuple[Any, ...], place: int, name: str) -> str:
    """The Id of an argument that is such a structure; "" where it is null.

    Raises:
        BadArgument: it is something else, or its Id is longer than 200 characters.
    """
    value = arguments[place].Value
    if value is None:
        return ""
    found = getattr(value, "Id", None) if isinstance(value, vars(ua)[name]) else value
    return text(found, place)


def text(value: Any, place: int) -> str:
    """A string argument without blanks around it; "" where it is null.

    Raises:
        BadArgument: it is none, or longer than 200 characters.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_CHARACTERS:
        raise BadArgument(place)
    return value.strip()


def whole(arguments: tuple[Any, ...], place: int) -> int:
    """A whole number, 0 or more; 0 where it is null.

    Raises:
        BadArgument: it is none.
    """
    value = arguments[place].Value
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadArgument(place)
    return int(value)


def result_structure(outcome: Outcome, name: str, state: LineState) -> Any:
    """ResultDataType of an outcome.

    Args:
        outcome: told.
        name: of the result.
        state: of the station, for the model's version.
    """
    result, job = outcome.result, outcome.job
    asked = result.t_trigger or result.t_capture
    spent = result.latency_ms.get("total")
    return make(
        "ResultDataType",
        ResultId=make("ResultIdDataType", Id=name),
        IsPartial=False,
        ResultState=int(result_state(outcome)),
        MeasId=make("MeasIdDataType", Id=job.request.job_id) if job.request.job_id else None,
        PartId=make("PartIdDataType", Id=job.part_id),
        ExternalRecipeId=make("RecipeIdExternalDataType", Id=result.recipe) if result.recipe else None,
        InternalRecipeId=make("RecipeIdInternalDataType", Id=result.recipe),
        InternalConfigurationId=configuration(result.bundle_digest, state),
        JobId=make("JobIdDataType", Id=job.job_id),
        CreationTime=datetime.now(timezone.utc),
        ProcessingTimes=make(
            "ProcessingTimesDataType",
            StartTime=asked,
            EndTime=datetime.now(timezone.utc),
            ProcessingDuration=float(spent) if spent is not None else None,
        ),
        ResultContent=[ua.Variant(dumps(outcome.to_json(), separators=(",", ":")), ua.VariantType.String)],
    )


def configuration(digest: str, state: LineState) -> Any:
    """ConfigurationIdDataType: the bundle that judges is what OPC 40100-1 calls a configuration."""
    version = str(state.model_version) if digest == state.bundle_digest else None
    return make("ConfigurationIdDataType", Id=digest, Version=version)
