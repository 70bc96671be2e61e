"""What a client may call, and what it gets back.

Knows the arguments of OPC 40100-1's methods and of our two plain ones. Does not know sessions or nodes' values: it asks
the desk and answers. Imported only when used: needs asyncua.

A method answers at once. None waits for a verdict: a connection is served one message after the other, so that a call
that waits would hold back all that its client is to be told meanwhile.
"""

# asyncua's hints: names that are not exported, and Int32 or String where a plain int or str is what it takes.
# mypy: disable-error-code="attr-defined, arg-type"

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from asyncua import ua

from diffad_runtime.errors import InputError
from diffad_runtime.health.logs import event
from diffad_runtime.line.base import Desk
from diffad_runtime.line.job import Job, Request
from diffad_runtime.line.opcua.nodes import LINE, Stand
from diffad_runtime.line.opcua.results import Results, Wanted
from diffad_runtime.line.opcua.space import SYSTEM, Space
from diffad_runtime.line.opcua.structures import BadArgument, identifier, make, result_structure, text, whole

_log = logging.getLogger(__name__)
_T = ua.VariantType
_MACHINE: Final = f"{SYSTEM}.VisionStateMachine"
_AUTOMATIC: Final = f"{_MACHINE}.AutomaticModeStateMachine"
_RECIPES: Final = f"{SYSTEM}.RecipeManagement"
_RESULTS: Final = f"{SYSTEM}.ResultManagement"
_FALSE, _TRUE = 0, 1  # TriStateBooleanDataType; 2 is "don't care"
_LONGEST_MS: Final = 3_600_000.0

Arguments = tuple[Any, ...]
Handler = Callable[[Arguments], list[ua.Variant]]


class Methods:
    """Answers calls, on the server's loop.

    Args:
        space: where the methods are.
        desk: takes jobs and recipes.
        channel: name of the adapter.
        results: told before.
        stand: gives the station as it was told last.
        started: called with each job that a client asked for.
        prepared: called with each recipe that a client prepared.
    """

    def __init__(
        self,
        space: Space,
        desk: Desk,
        channel: str,
        results: Results,
        stand: Callable[[], Stand],
        started: Callable[[Job], None],
        prepared: Callable[[str], None],
    ) -> None:
        self._space, self._desk, self._channel, self._results = space, desk, channel, results
        self._stand, self._started, self._prepared = stand, started, prepared

    async def build(self) -> None:
        """Link the methods of OPC 40100-1, and put two plain ones beside the flat variables."""
        known: dict[str, tuple[int, Handler]] = {
            f"{_AUTOMATIC}.StartSingleJob": (5, self._start_single_job),
            f"{_RECIPES}.PrepareRecipe": (2, self._prepare_recipe),
            f"{_RECIPES}.GetRecipeListFiltered": (6, self._get_recipe_list),
            f"{_RESULTS}.GetResultById": (2, self._get_result),
            f"{_RESULTS}.GetResultComponentsById": (2, self._get_result_components),
            f"{_RESULTS}.GetResultListFiltered": (12, self._get_result_list),
        }
        # The station stops, starts and clears its faults by itself; nobody may stop it from a network, and a job that
        # was asked for gets its verdict. The specification has these methods mandatory, so they are there and say no.
        for path in (
            f"{_AUTOMATIC}.StartContinuous",
            f"{_AUTOMATIC}.Stop",
            f"{_AUTOMATIC}.Abort",
            f"{_MACHINE}.Halt",
            f"{_MACHINE}.Reset",
            f"{_RECIPES}.UnprepareRecipe",
        ):
            known[path] = (-1, _refuse)
        for path, (count, handler) in known.items():
            self._space.server.link_method(self._space.node(path), _method(path, count, handler))
        line = self._space.node(LINE)
        await self._plain(
            line,
            "Trigger",
            self._trigger,
            [("JobId", _T.String), ("PartId", _T.String), ("Recipe", _T.String), ("DeadlineMs", _T.Double)],
            [("JobId", _T.String), ("JobNumber", _T.UInt32)],
        )
        await self._plain(line, "SelectRecipe", self._select_recipe, [("Recipe", _T.String)], [])

    async def _plain(self, parent: Any, name: str, handler: Handler, given: Any, back: Any) -> None:
        path = f"{LINE}.{name}"
        await parent.add_method(
            self._space.own(path),
            ua.QualifiedName(name, self._space.line),
            _method(path, len(given), handler),
            [_argument(*one) for one in given],
            [_argument(*one) for one in back],
        )

    def _start_single_job(self, arguments: Arguments) -> list[ua.Variant]:
        asked = identifier(arguments, 0, "MeasIdDataType")
        part = identifier(arguments, 1, "PartIdDataType")
        recipe = identifier(arguments, 2, "RecipeIdExternalDataType")
        if identifier(arguments, 3, "ProductIdDataType"):
            raise BadArgument(3)  # there are recipes, no products
        parameters = arguments[4].Value or []
        if not isinstance(parameters, list) or len(parameters) > 1:
            raise BadArgument(4)
        deadline = parameters[0] if parameters else None
        job = self._ask(asked, part, recipe, deadline.Value if isinstance(deadline, ua.Variant) else deadline, 4)
        return [ua.Variant(make("JobIdDataType", Id=job.job_id)), _int32(0)]

    def _trigger(self, arguments: Arguments) -> list[ua.Variant]:
        job_id, part, recipe = (text(arguments[place].Value, place) for place in range(3))
        job = self._ask(job_id, part, recipe, arguments[3].Value, 3)
        return [ua.Variant(job.job_id, _T.String), ua.Variant(job.number & 0xFFFFFFFF, _T.UInt32)]

    def _ask(self, job_id: str, part: str, recipe: str, deadline: Any, place: int) -> Job:
        if deadline is not None and (isinstance(deadline, bool) or not isinstance(deadline, int | float)):
            raise BadArgument(place)
        # 0 is what a PLC sends for "none": the station's own deadline.
        deadline_ms = float(deadline) if deadline else None
        if deadline_ms is not None and not (math.isfinite(deadline_ms) and 0 < deadline_ms <= _LONGEST_MS):
            raise BadArgument(place)
        job = self._desk.trigger(Request(self._channel, job_id, part, _recipe(recipe) if recipe else None, deadline_ms))
        self._started(job)
        return job

    def _select_recipe(self, arguments: Arguments) -> list[ua.Variant]:
        self._prepare(text(arguments[0].Value, 0))
        return []

    def _prepare_recipe(self, arguments: Arguments) -> list[ua.Variant]:
        outside = identifier(arguments, 0, "RecipeIdExternalDataType")
        inside = identifier(arguments, 1, "RecipeIdInternalDataType")
        name = self._prepare(outside or inside)
        internal = make("RecipeIdInternalDataType", Id=name)
        return [ua.Variant(internal), ua.Variant(True, _T.Boolean), _int32(0)]

    def _prepare(self, wanted: str) -> str:
        """Prepare a recipe by name or index and give its name."""
        if not wanted:
            raise BadArgument(0)
        recipe = _recipe(wanted)
        known = dict(self._desk.recipes())
        name = next((one for one, index in known.items() if recipe in (one, index)), None)
        if name is None:
            raise _Missing(f"there is no recipe {wanted!r}")
        self._desk.prepare(recipe)
        self._prepared(name)
        return name

    def _get_recipe_list(self, arguments: Arguments) -> list[ua.Variant]:
        wanted = identifier(arguments, 0, "RecipeIdExternalDataType")
        product = identifier(arguments, 1, "ProductIdDataType")
        prepared, most, start = arguments[2].Value, whole(arguments, 3), whole(arguments, 4)
        in_force = self._desk.state().recipe
        names = [
            name
            for name, _ in self._desk.recipes()
            if not product
            and wanted in ("", name)
            and (prepared not in (_FALSE, _TRUE) or (name == in_force) is (prepared == _TRUE))
        ]
        end = start + most if most else len(names)
        found = [make("RecipeIdInternalDataType", Id=name) for name in names[start:end]]
        return [
            ua.Variant(end >= len(names), _T.Boolean),
            ua.Variant(len(found), _T.UInt32),
            ua.Variant(0, _T.UInt32),
            ua.Variant(found, _T.ExtensionObject, is_array=True),
            _int32(0),
        ]

    def _get_result(self, arguments: Arguments) -> list[ua.Variant]:
        return [ua.Variant(0, _T.UInt32), ua.Variant(self._result(arguments)), _int32(0)]

    def _get_result_components(self, arguments: Arguments) -> list[ua.Variant]:
        result = self._result(arguments)

        def structure(name: str) -> ua.Variant:
            return ua.Variant(getattr(result, name), _T.ExtensionObject)

        return [
            ua.Variant(False, _T.Boolean),
            ua.Variant(0, _T.UInt32),
            ua.Variant(result.IsPartial, _T.Boolean),
            ua.Variant(False, _T.Boolean),
            _int32(result.ResultState),
            *(structure(name) for name in ("MeasId", "PartId", "ExternalRecipeId", "InternalRecipeId", "ProductId")),
            *(structure(name) for name in ("ExternalConfigurationId", "InternalConfigurationId", "JobId")),
            ua.Variant(result.CreationTime, _T.DateTime),
            structure("ProcessingTimes"),
            ua.Variant(result.ResultContent, _T.Variant, is_array=True),
            _int32(0),
        ]

    def _result(self, arguments: Arguments) -> Any:
        name = identifier(arguments, 0, "ResultIdDataType")
        outcome = self._results.get(name)
        if outcome is None:
            raise _Missing(f"there is no result {name!r}, or none any more")
        return result_structure(outcome, name, self._stand().state)

    def _get_result_list(self, arguments: Arguments) -> list[ua.Variant]:
        state = arguments[0].Value or 0
        if isinstance(state, bool) or not isinstance(state, int):
            raise BadArgument(0)
        measured = identifier(arguments, 1, "MeasIdDataType")
        recipe = identifier(arguments, 3, "RecipeIdExternalDataType") or identifier(
            arguments, 4, "RecipeIdInternalDataType"
        )
        wanted = Wanted(
            state,
            identifier(arguments, 8, "JobIdDataType") or measured,
            identifier(arguments, 2, "PartIdDataType"),
            recipe,
        )
        found = self._results.find(wanted, whole(arguments, 9), whole(arguments, 10))
        shown = self._stand().state
        listed = [result_structure(outcome, name, shown) for name, outcome in found.results]
        return [
            ua.Variant(found.complete, _T.Boolean),
            ua.Variant(len(listed), _T.UInt32),
            ua.Variant(0, _T.UInt32),
            ua.Variant(listed, _T.ExtensionObject, is_array=True),
            _int32(0),
        ]


class _Missing(Exception):  # noqa: N818  no error of ours
    """What was asked for is not there."""


class _No(Exception):  # noqa: N818
    """Not over this interface."""


def _method(path: str, count: int, handler: Handler) -> Callable[..., Awaitable[ua.CallMethodResult]]:
    """A handler as asyncua wants it: whatever goes wrong becomes a status code. count -1: any number of arguments."""

    async def call(_: ua.NodeId, *arguments: ua.Variant) -> ua.CallMethodResult:
        result = ua.CallMethodResult()
        try:
            if count >= 0 and len(arguments) != count:
                few = len(arguments) < count
                result.StatusCode = ua.StatusCode(
                    ua.StatusCodes.BadArgumentsMissing if few else ua.StatusCodes.BadTooManyArguments
                )
                return result
            result.OutputArguments = handler(arguments)
        except BadArgument as bad:
            result.StatusCode = ua.StatusCode(ua.StatusCodes.BadInvalidArgument)
            result.InputArgumentResults = [
                ua.StatusCode(ua.StatusCodes.BadInvalidArgument if place == bad.place else ua.StatusCodes.Good)
                for place in range(len(arguments))
            ]
        except _Missing as missing:
            result.StatusCode = _told(path, ua.StatusCodes.BadNotFound, str(missing))
        except _No:
            result.StatusCode = ua.StatusCode(ua.StatusCodes.BadNotSupported)
        except InputError as error:
            result.StatusCode = _told(path, ua.StatusCodes.BadInvalidArgument, error.what)
        except Exception as error:
            result.StatusCode = _told(path, ua.StatusCodes.BadInternalError, f"{type(error).__name__}: {error}")
        return result

    return call


def _refuse(_: Arguments) -> list[ua.Variant]:
    raise _No


def _told(path: str, code: int, text_: str) -> ua.StatusCode:
    event(_log, logging.WARNING, "opcua_call", f"{path.rpartition('.')[2]} over OPC UA: {text_}")
    return ua.StatusCode(code)


def _recipe(wanted: str) -> str | int:
    """Names of recipes are not digits alone: what is, is an index."""
    return int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) <= 5 else wanted


def _int32(value: int) -> ua.Variant:
    return ua.Variant(value, _T.Int32)


def _argument(name: str, kind: Any) -> ua.Argument:
    return ua.Argument(Name=name, DataType=ua.NodeId(kind.value), ValueRank=-1)
