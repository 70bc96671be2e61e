"""What the station has to say, put into variables and sent as events.

Knows events and where the station is in its state machines. Does not know methods, threads or queues: everything here
runs on the server's loop, one after the other. Imported only when used: needs asyncua.
"""

# asyncua's hints: names that are not exported, and Int32 or String where a plain int or str is what it takes.
# mypy: disable-error-code="attr-defined, arg-type"

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Final

from asyncua import ua
from asyncua.common.events import Event

from diffad_runtime.line.job import Job, LineState, Outcome
from diffad_runtime.line.opcua.nodes import Flat, Stand, Told, count, data, nothing, score
from diffad_runtime.line.opcua.results import Results, result_id
from diffad_runtime.line.opcua.space import SYSTEM, Space
from diffad_runtime.line.opcua.states import BEGIN, Auto, Step, Top, place, way
from diffad_runtime.line.opcua.structures import make, result_structure

_T = ua.VariantType
_MACHINE: Final = f"{SYSTEM}.VisionStateMachine"
_AUTOMATIC: Final = f"{_MACHINE}.AutomaticModeStateMachine"
_CALM, _GRAVE = 100, 700  # severities, OPC 10000-5: 1 to 1000
INSPECTED: Final = "InspectionResultReadyEventType"
_MOST_WORKING: Final = 10_000

# Fields of our event type beside those that ResultReadyEventType has: plain, for clients that decode no structures.
PLAIN: Final = (
    ("JobNumber", _T.UInt32),
    ("Job", _T.String),
    ("Part", _T.String),
    ("Recipe", _T.String),
    ("Verdict", _T.String),
    ("Reject", _T.Boolean),
    ("Code", _T.Int32),
    ("CodeName", _T.String),
    ("Error", _T.String),
    ("Score", _T.Double),
    ("Threshold", _T.Double),
)


class Teller:
    """Tells clients. One at a time, on the server's loop.

    Args:
        space: where the nodes are.
        results: kept for later questions.
        state: of the station now.
    """

    def __init__(self, space: Space, results: Results, state: LineState) -> None:
        self._space, self._results = space, results
        self._flat = Flat(space)
        self._place = BEGIN
        self._stand = Stand(state, ())
        self._working: dict[int, None] = {}  # asked for by OPC UA, without a verdict
        self._asked = 0
        self._sequence = 0

    @property
    def stand(self) -> Stand:
        """The station as it was told last."""
        return self._stand

    async def build(self) -> None:
        """Make flat variables and the event type, and show where the station is."""
        await self._flat.build()
        parent = self._space.server.get_node(self._space.events["ResultReadyEventType"])
        kind = await parent.add_object_type(self._space.own(INSPECTED), ua.QualifiedName(INSPECTED, self._space.line))
        for name, variant in PLAIN:
            await kind.add_property(
                self._space.own(f"{INSPECTED}.{name}"),
                ua.QualifiedName(name, self._space.line),
                ua.get_default_value(variant),
                varianttype=variant,
            )
        await self._show_place()
        await self.station(self._stand)

    async def station(self, stand: Stand) -> None:
        """Tell the station's state."""
        self._stand = stand
        if not stand.state.open:
            self._working.clear()
        await self._flat.station(stand)
        await self._move()

    async def started(self, job: Job) -> None:
        """A client has asked for a job."""
        if len(self._working) < _MOST_WORKING:
            self._working[job.number] = None
        self._asked = job.number
        await self._flat.ready(False)
        await self._move()
        await self._send("JobStartedEventType", f"job {job.job_id}", JobId=make("JobIdDataType", Id=job.job_id))

    async def result(self, outcome: Outcome) -> None:
        """Tell a verdict: first the variables, then the event, then that the station is ready for more."""
        self._sequence += 1
        job, state = outcome.job, self._stand.state
        name = result_id(state.run_id, job.number)
        self._results.keep(name, outcome)
        await self._flat.result(Told(outcome, name, self._sequence))
        if job.number >= self._asked:
            await self._flat.ready(True)
        await self._send_result(outcome, result_structure(outcome, name, state))
        self._working.pop(job.number, None)
        # The station tells of its open jobs at its next beat only.
        self._stand = self._stand._replace(state=replace(state, open=max(0, state.open - 1)))

    async def settle(self) -> None:
        """After a verdict: leave SingleExecution where nothing more is open. Not before whoever waits was told."""
        await self._move()

    async def prepared(self, recipe: str) -> None:
        """A client has prepared a recipe."""
        await self._send(
            "RecipePreparedEventType",
            f"recipe {recipe}",
            ExternalId=make("RecipeIdExternalDataType", Id=recipe),
            InternalId=make("RecipeIdInternalDataType", Id=recipe),
        )

    async def _move(self) -> None:
        """Walk to where the station is, telling each step."""
        state, recipes = self._stand
        # Its own jobs count when they are asked for, not only when the station tells of them.
        target = place(state, recipes=bool(recipes), working=bool(self._working))
        steps = way(self._place, target)
        if not steps:
            return
        before, self._place = self._place, target
        await self._show_place()
        for step in steps:
            await self._send_step(step)
        if target.top is Top.ERROR and before.top is not Top.ERROR:
            await self._send("ErrorEventType", "; ".join(state.faults) or "fault", severity=_GRAVE)
        if before.top is Top.ERROR and target.top is not Top.ERROR:
            await self._send("ErrorResolvedEventType", "no fault")
        if target.auto is Auto.READY and before.auto is not Auto.READY:
            await self._send("ReadyEventType", "ready", JobId=make("JobIdDataType", Id=""))

    async def _show_place(self) -> None:
        await self._show(_MACHINE, self._place.top.value)
        await self._show(_AUTOMATIC, self._place.auto.value if self._place.auto else None)

    async def _show(self, machine: str, name: str | None) -> None:
        current = f"{machine}.CurrentState"
        if name is None:  # OPC 10000-16: a machine inside a state that is not entered
            for path in (current, f"{current}.Id"):
                await self._space.write(path, nothing(ua.StatusCodes.BadStateNotActive))
            return
        await self._space.write(f"{current}.Id", data(self._space.states[name], _T.NodeId))
        await self._space.write(current, data(ua.LocalizedText(name), _T.LocalizedText))

    async def _send_step(self, step: Step) -> None:
        named = {"Transition": step.transition, "FromState": step.start, "ToState": step.end}
        fields: dict[str, Any] = {}
        for field, name in named.items():
            fields[field] = ua.LocalizedText(name)
            fields[f"{field}/Id"] = self._space.states.get(name)
        source = _AUTOMATIC if step.automatic else _MACHINE
        await self._send("StateChangedEventType", f"{step.start} -> {step.end}", source=source, **fields)

    async def _send_result(self, outcome: Outcome, structure: Any) -> None:
        job, result = outcome.job, outcome.result
        plain: Sequence[Any] = (
            count(job.number), job.job_id, job.part_id, result.recipe, outcome.verdict.value, outcome.reject,
            int(outcome.code), outcome.code.name, result.error, score(outcome), float(result.image_threshold),
        )  # fmt: skip
        fields = {
            name: getattr(structure, name)
            for name in (
                "ResultId", "IsPartial", "ResultState", "MeasId", "PartId", "ExternalRecipeId", "InternalRecipeId",
                "InternalConfigurationId", "JobId", "CreationTime", "ProcessingTimes", "ResultContent",
            )
        }  # fmt: skip
        typed = {name: ua.Variant(value, kind) for (name, kind), value in zip(PLAIN, plain, strict=True)}
        fields["ResultState"] = ua.Variant(structure.ResultState, _T.Int32)
        await self._send(INSPECTED, f"job {job.job_id}: {outcome.verdict.value}", **fields, **typed)

    async def _send(
        self, kind: str, message: str, *, source: str = SYSTEM, severity: int = _CALM, **fields: Any
    ) -> None:
        """Send an event from the vision system, and from the server, where many clients listen."""
        event = Event()
        now = datetime.now(timezone.utc)
        event.add_property("EventId", uuid.uuid4().bytes, _T.ByteString)
        event.add_property("EventType", self._space.events.get(kind, self._space.own(kind)), _T.NodeId)
        event.add_property("SourceNode", self._space.own(source), _T.NodeId)
        event.add_property("SourceName", source.rpartition(".")[2], _T.String)
        event.add_property("Time", now, _T.DateTime)
        event.add_property("ReceiveTime", now, _T.DateTime)
        event.add_property("Message", ua.LocalizedText(message), _T.LocalizedText)
        event.add_property("Severity", severity, _T.UInt16)
        for name, value in fields.items():
            variant = value if isinstance(value, ua.Variant) else ua.Variant(value)
            event.add_property(name, variant.Value, variant.VariantType)
        for node in (self._space.own(SYSTEM), ua.NodeId(ua.ObjectIds.Server)):
            event.emitting_node = node
            await self._space.server.iserver.subscription_service.trigger_event(event)
