"""The server as a client of asyncua sees it."""

import asyncio
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.line.job import Phase
from diffad_runtime.result import ErrorCode, Result, Verdict

asyncua = pytest.importorskip("asyncua", reason="needs the extra [line]: asyncua")
from asyncua import ua  # noqa: E402

AUTOMATIC = "VisionSystem.VisionStateMachine.AutomaticModeStateMachine"
RESULTS = "VisionSystem.ResultManagement"
RECIPES = "VisionSystem.RecipeManagement"
VISION = 2


class Events:
    """What a subscription brings."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.changes: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def event_notification(self, event: Any) -> None:
        self.events.put_nowait(event)

    def datachange_notification(self, node: Any, value: Any, _: Any) -> None:
        self.changes.put_nowait((node.nodeid.Identifier, value))

    async def event(self, kind: ua.NodeId) -> Any:
        """The next event of that type; others are passed over."""
        while True:
            found = await asyncio.wait_for(self.events.get(), 5)
            if found.EventType == kind:
                return found


def struct(name: str, value: str) -> Any:
    return vars(ua)[name](Id=value)


def job_arguments(meas: str = "", part: str = "", recipe: str = "", parameters: Any = None) -> list[Any]:
    return [
        struct("MeasIdDataType", meas),
        struct("PartIdDataType", part),
        struct("RecipeIdExternalDataType", recipe),
        struct("ProductIdDataType", ""),
        ua.Variant([ua.Variant(one) for one in parameters or []], ua.VariantType.Variant, is_array=True),
    ]


async def start_job(client: Any, own: Any, **arguments: Any) -> Any:
    parent = own(client, AUTOMATIC)
    job, error = await parent.call_method(f"{VISION}:StartSingleJob", *job_arguments(**arguments))
    assert error == 0
    return job.Id


async def code_of(work: Any) -> int:
    with pytest.raises(ua.UaStatusCodeError) as told:
        await work
    return int(told.value.code)


async def last(client: Any, own: Any, *names: str) -> list[Any]:
    """Variables of LastResult, in one request."""
    return list(await client.read_values([own(client, f"Line.LastResult.{name}") for name in names]))


async def until(client: Any, own: Any, job_id: str) -> None:
    """Poll, as a PLC without subscriptions does."""
    for _ in range(200):
        try:
            if await last(client, own, "JobId") == [job_id]:
                return
        except ua.UaStatusCodeError:  # no result yet
            pass
        await asyncio.sleep(0.01)
    pytest.fail(f"no result of {job_id}")


def test_trigger_event_and_variables(
    line: Any, client_folder: Path, run: Any, connected: Any, own: Any, make_result: Callable[..., Result]
) -> None:
    line.desk.verdicts["bad"] = make_result(Verdict.NG, score=2.5, part_id="bad", recipe="right")

    async def work() -> None:
        async with connected(line, client_folder) as client:
            assert await client.get_namespace_index("http://opcfoundation.org/UA/MachineVision") == VISION
            assert await client.get_namespace_index("urn:diffad-edge:line") == 3
            events = Events()
            subscription = await client.create_subscription(20, events)
            kind = own(client, "InspectionResultReadyEventType")
            await subscription.subscribe_events(own(client, "VisionSystem"), kind)
            before = time.monotonic()
            job_id = await start_job(client, own, meas="m-1", part="bad", recipe="right", parameters=[400.0])
            assert job_id == "m-1"
            event = await events.event(kind.nodeid)
            assert time.monotonic() - before < 2
            assert event.JobId.Id == event.Job == "m-1"
            assert event.PartId.Id == event.Part == "bad"
            assert event.ExternalRecipeId.Id == event.Recipe == "right"
            assert event.ResultState == 1
            assert event.IsPartial is False
            assert (event.Verdict, event.Reject, event.Code, event.CodeName) == ("NG", True, 0, "NONE")
            assert (event.Score, event.Threshold) == (2.5, 1.5)
            assert json.loads(event.ResultContent[0].Value)["verdict"] == "NG"
            assert event.ResultId.Id == f"run1-{event.JobNumber}"
            names = ("JobId", "PartId", "Verdict", "VerdictNumber", "Reject", "Code", "Score", "Recipe", "ResultReady")
            assert await last(client, own, *names) == ["m-1", "bad", "NG", 1, True, 0, 2.5, "right", True]
            assert json.loads((await last(client, own, "Json"))[0])["part_id"] == "bad"
        request = line.desk.requests[-1]
        assert (request.channel, request.job_id, request.part_id) == ("opcua", "m-1", "bad")
        assert (request.recipe, request.deadline_ms) == ("right", 400.0)

    run(work())
    assert line.desk.told[-1].job.job_id == "m-1"


def test_error_has_its_code_and_rejects(
    line: Any, client_folder: Path, run: Any, connected: Any, own: Any, make_result: Callable[..., Result]
) -> None:
    line.desk.verdicts["late"] = make_result(Verdict.ERROR, code=ErrorCode.LATE, part_id="late")

    async def work() -> None:
        async with connected(line, client_folder) as client:
            job_id = await start_job(client, own, part="late")
            await until(client, own, job_id)
            names = ("Verdict", "VerdictNumber", "Reject", "Code", "CodeName", "Error", "ResultState")
            assert await last(client, own, *names) == ["ERROR", 2, True, 11, "LATE", "late", 4]
            assert math.isnan((await last(client, own, "Score"))[0])

    run(work())


def test_a_repeated_job_is_the_same_job_and_told_again(
    line: Any, client_folder: Path, run: Any, connected: Any, own: Any
) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            first = await start_job(client, own, meas="twice", part="p")
            await until(client, own, first)
            number, sequence = await last(client, own, "JobNumber", "Sequence")
            assert await start_job(client, own, meas="twice", part="p") == first
            for _ in range(100):
                if (await last(client, own, "Sequence"))[0] > sequence:
                    break
                await asyncio.sleep(0.01)
            assert await last(client, own, "JobNumber", "Sequence", "ResultReady") == [number, sequence + 1, True]

    run(work())


def test_a_generic_client_finds_the_official_event(
    line: Any, client_folder: Path, run: Any, connected: Any, own: Any
) -> None:
    """One that knows OPC 40100-1 and nothing of us: ofType ResultReadyEventType, at the server object."""

    async def work() -> None:
        async with connected(line, client_folder) as client:
            await client.load_data_type_definitions()
            official = ua.NodeId(1024, VISION)
            chosen = ua.EventFilter()
            for name, index in (("EventType", 0), ("JobId", VISION), ("ResultState", VISION)):
                chosen.SelectClauses.append(
                    ua.SimpleAttributeOperand(
                        TypeDefinitionId=official,
                        BrowsePath=[ua.QualifiedName(name, index)],
                        AttributeId=ua.AttributeIds.Value,
                    )
                )
            chosen.WhereClause.Elements.append(
                ua.ContentFilterElement(
                    FilterOperator=ua.FilterOperator.OfType,
                    FilterOperands=[ua.LiteralOperand(Value=ua.Variant(official))],
                )
            )
            events = Events()
            subscription = await client.create_subscription(20, events)
            await subscription.subscribe_events(client.nodes.server, official, evfilter=chosen)
            job_id = await start_job(client, own, part="any")
            event = await asyncio.wait_for(events.events.get(), 5)
            assert event.EventType == own(client, "InspectionResultReadyEventType").nodeid
            assert event.JobId.Id == job_id
            assert event.ResultState == 1
            assert events.events.empty()  # neither states nor starts: they are of another type

    run(work())


def test_states_are_walked_and_told(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    machine = "VisionSystem.VisionStateMachine"

    async def work() -> None:
        async with connected(line, client_folder) as client:
            line.desk.held.add("slow")
            top, auto = own(client, f"{machine}.CurrentState"), own(client, f"{AUTOMATIC}.CurrentState")
            assert (await top.read_value()).Text == "Operational"
            assert (await auto.read_value()).Text == "Ready"
            identifier = await own(client, f"{machine}.CurrentState.Id").read_value()
            assert (await client.get_node(identifier).read_browse_name()).Name == "Operational"
            events = Events()
            subscription = await client.create_subscription(20, events)
            changed = ua.NodeId(1018, VISION)
            await subscription.subscribe_events(client.nodes.server, client.get_node(changed))
            await start_job(client, own, part="slow")
            event = await events.event(changed)
            assert (event.FromState.Text, event.ToState.Text) == ("Ready", "SingleExecution")
            assert (await auto.read_value()).Text == "SingleExecution"
            assert await last(client, own, "ResultReady") == [False]
            line.desk.become(open=1, heartbeat=2)  # a beat while it is open
            while await own(client, "Line.OpenJobs").read_value() != 1:
                await asyncio.sleep(0.01)
            line.desk.release("slow")
            event = await events.event(changed)
            assert (event.FromState.Text, event.ToState.Text) == ("SingleExecution", "Ready")
            line.desk.become(open=0, heartbeat=3)
            line.desk.become(phase=Phase.FAULT, faults=("the camera is away",))
            event = await events.event(changed)
            assert (event.FromState.Text, event.ToState.Text) == ("Operational", "Error")
            assert (await top.read_value()).Text == "Error"
            with pytest.raises(ua.UaStatusCodeError) as told:
                await auto.read_value()
            assert told.value.code == ua.StatusCodes.BadStateNotActive
            assert await own(client, "Line.Faults").read_value() == ["the camera is away"]
            assert await own(client, "Line.Ready").read_value() is False
            line.desk.become(phase=Phase.READY, faults=())
            steps = [await events.event(changed) for _ in range(2)]
            assert [one.ToState.Text for one in steps] == ["Operational", "Ready"]

    run(work())


def test_the_station_in_flat_variables(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            events = Events()
            subscription = await client.create_subscription(20, events)
            await subscription.subscribe_data_change(own(client, "Line.Heartbeat"))
            line.desk.become(heartbeat=4711)
            while (await asyncio.wait_for(events.changes.get(), 5)) != ("Line.Heartbeat", 4711):
                pass
            expected = {
                "Ready": True,
                "State": "ready",
                "BeatSeconds": 0.5,
                "CountOK": 3,
                "CountNG": 2,
                "CountERROR": 1,
                "ModelId": "flange",
                "ModelVersion": 4,
                "BundleDigest": "ab" * 32,
                "RunId": "run1",
                "Recipes": ["left", "right", "spare"],
                "RecipeIndices": [1, 2, -1],
                "Faults": [],
            }
            nodes = [own(client, f"Line.{name}") for name in expected]
            assert dict(zip(expected, await client.read_values(nodes), strict=True)) == expected

    run(work())


def test_recipes(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            management = own(client, RECIPES)

            async def prepare(name: str) -> Any:
                return await management.call_method(
                    f"{VISION}:PrepareRecipe",
                    struct("RecipeIdExternalDataType", name),
                    struct("RecipeIdInternalDataType", ""),
                )

            internal, completed, error = await prepare("right")
            assert (internal.Id, completed, error) == ("right", True, 0)
            assert line.desk.now.recipe == "right"
            assert (await prepare("1"))[0].Id == "left"  # by its index
            for unknown in ("no such", "77", "x" * 200):
                assert await code_of(prepare(unknown)) == ua.StatusCodes.BadNotFound
            for bad in ("", "x" * 201):
                assert await code_of(prepare(bad)) == ua.StatusCodes.BadInvalidArgument
            assert line.desk.now.recipe == "left"
            await own(client, "Line").call_method("3:SelectRecipe", "spare")
            assert line.desk.now.recipe == "spare"

            async def listed(name: str, prepared: int, most: int, start: int) -> tuple[bool, list[str]]:
                complete, count, _, recipes, error = await management.call_method(
                    f"{VISION}:GetRecipeListFiltered",
                    struct("RecipeIdExternalDataType", name),
                    struct("ProductIdDataType", ""),
                    ua.Variant(prepared, ua.VariantType.Int32),
                    ua.Variant(most, ua.VariantType.UInt32),
                    ua.Variant(start, ua.VariantType.UInt32),
                    ua.Variant(0, ua.VariantType.Int32),
                )
                assert error == 0
                assert count == len(recipes or [])
                return complete, [recipe.Id for recipe in recipes or []]

            assert await listed("", 2, 0, 0) == (True, ["left", "right", "spare"])
            assert await listed("", 1, 0, 0) == (True, ["spare"])
            assert await listed("", 0, 0, 0) == (True, ["left", "right"])
            assert await listed("", 2, 2, 0) == (False, ["left", "right"])
            assert await listed("", 2, 2, 2) == (True, ["spare"])
            assert await listed("right", 2, 0, 0) == (True, ["right"])
            assert await listed("none", 2, 0, 0) == (True, [])
            await prepare("left")

    run(work())


def test_results_are_asked_for_later(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            job_id = await start_job(client, own, part="kept")
            await until(client, own, job_id)
            (name,) = await last(client, own, "ResultId")
            management = own(client, RESULTS)
            timeout = ua.Variant(0, ua.VariantType.Int32)
            _, result, error = await management.call_method(
                f"{VISION}:GetResultById", struct("ResultIdDataType", name), timeout
            )
            assert (error, result.ResultId.Id, result.JobId.Id, result.PartId.Id) == (0, name, job_id, "kept")
            assert result.InternalConfigurationId.Id == "ab" * 32
            assert result.InternalConfigurationId.Version == "4"
            assert result.MeasId is None
            parts = await management.call_method(
                f"{VISION}:GetResultComponentsById", struct("ResultIdDataType", name), timeout
            )
            assert len(parts) == 17
            assert (parts[4], parts[6].Id, parts[12].Id, parts[16]) == (1, "kept", job_id, 0)
            gone = management.call_method(f"{VISION}:GetResultById", struct("ResultIdDataType", "run1-999999"), timeout)
            assert await code_of(gone) == ua.StatusCodes.BadNotFound
            complete, count, _, results, error = await management.call_method(
                f"{VISION}:GetResultListFiltered",
                ua.Variant(0, ua.VariantType.Int32),
                struct("MeasIdDataType", ""),
                struct("PartIdDataType", "kept"),
                struct("RecipeIdExternalDataType", ""),
                struct("RecipeIdInternalDataType", ""),
                struct("ConfigurationIdDataType", ""),
                struct("ConfigurationIdDataType", ""),
                struct("ProductIdDataType", ""),
                struct("JobIdDataType", ""),
                ua.Variant(10, ua.VariantType.UInt32),
                ua.Variant(0, ua.VariantType.UInt32),
                timeout,
            )
            assert (complete, count, error, [one.JobId.Id for one in results]) == (True, 1, 0, [job_id])

    run(work())


def test_the_plain_trigger(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            job_id, number = await own(client, "Line").call_method("3:Trigger", "plain-1", "part-x", "2", 0.0)
            assert job_id == "plain-1"
            await until(client, own, "plain-1")
            assert await last(client, own, "JobNumber", "PartId") == [number, "part-x"]

    run(work())
    assert (line.desk.requests[-1].recipe, line.desk.requests[-1].deadline_ms) == (2, None)


def test_one_read_is_of_one_result(
    line: Any, client_folder: Path, run: Any, connected: Any, own: Any, make_result: Callable[..., Result]
) -> None:
    """However fast parts come: part and score of a Read belong together."""
    for number in range(200):
        line.desk.verdicts[f"n{number}"] = make_result(part_id=f"n{number}", score=float(number))

    async def work() -> None:
        async with connected(line, client_folder) as client:
            await until(client, own, await start_job(client, own, part="n0"))
            seen = set()
            for number in range(200):
                line.desk.trigger(type(line.desk.requests[0])("opcua", part_id=f"n{number}"))
                part, score = await last(client, own, "PartId", "Score")
                assert part == f"n{score:.0f}"
                seen.add(part)
            assert len(seen) > 10

    run(work())
