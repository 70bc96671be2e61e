"""What may be asked of the server, and what it refuses: arguments, methods that are not for clients, writing."""

from pathlib import Path
from typing import Any

import pytest

asyncua = pytest.importorskip("asyncua", reason="needs the extra [line]: asyncua")
from asyncua import ua  # noqa: E402

AUTOMATIC = "VisionSystem.VisionStateMachine.AutomaticModeStateMachine"
VISION = 2


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


async def code_of(work: Any) -> int:
    with pytest.raises(ua.UaStatusCodeError) as told:
        await work
    return int(told.value.code)


@pytest.mark.parametrize(
    "arguments",
    [
        ["x" * 201, "", "", 0.0],
        ["", "x" * 201, "", 0.0],
        ["", "", "x" * 201, 0.0],
        ["a\x00b", "", "", 0.0],
        ["", "", "", -1.0],
        ["", "", "", float("nan")],
        ["", "", "", float("inf")],
        [5, "", "", 0.0],
        ["", "", "", "soon"],
        [b"bytes", "", "", 0.0],
    ],
)
def test_arguments_that_are_none(
    line: Any, client_folder: Path, run: Any, connected: Any, own: Any, arguments: list[Any]
) -> None:
    asked = len(line.desk.requests)

    async def work() -> None:
        async with connected(line, client_folder) as client:
            call = own(client, "Line").call_method("3:Trigger", *arguments)
            assert await code_of(call) == ua.StatusCodes.BadInvalidArgument
            few = own(client, "Line").call_method("3:Trigger", "a")
            assert await code_of(few) == ua.StatusCodes.BadArgumentsMissing
            many = own(client, "Line").call_method("3:Trigger", "a", "b", "", 0.0, 1)
            assert await code_of(many) == ua.StatusCodes.BadTooManyArguments

    run(work())
    assert len(line.desk.requests) == asked


def test_structures_that_are_none(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            good = job_arguments()
            for place, wrong in (
                (0, struct("PartIdDataType", "a")),
                (0, 17),
                (1, struct("PartIdDataType", "x" * 201)),
                (3, struct("ProductIdDataType", "a product")),
                (4, ua.Variant(["soon"], ua.VariantType.String, is_array=True)),
                (4, ua.Variant([1.0, 2.0], ua.VariantType.Double, is_array=True)),
            ):
                arguments = [*good[:place], wrong, *good[place + 1 :]]
                call = own(client, AUTOMATIC).call_method(f"{VISION}:StartSingleJob", *arguments)
                assert await code_of(call) == ua.StatusCodes.BadInvalidArgument, (place, wrong)

    run(work())


def test_nobody_stops_the_station_from_here(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            for path in (f"{AUTOMATIC}.Stop", f"{AUTOMATIC}.Abort", "VisionSystem.VisionStateMachine.Halt"):
                parent, _, name = path.rpartition(".")
                call = own(client, parent).call_method(
                    f"{VISION}:{name}", ua.Variant(0, ua.VariantType.Int32), ua.Variant("", ua.VariantType.String)
                )
                assert await code_of(call) == ua.StatusCodes.BadNotSupported

    run(work())


def test_nothing_can_be_written_or_added(line: Any, client_folder: Path, run: Any, connected: Any, own: Any) -> None:
    async def work() -> None:
        async with connected(line, client_folder) as client:
            for path in ("Line.Ready", "Line.LastResult.Verdict", "VisionSystem.VisionStateMachine.CurrentState"):
                assert await code_of(own(client, path).write_value("OK")) == ua.StatusCodes.BadUserAccessDenied
            added = own(client, "VisionSystem").add_folder(3, "mine")
            assert await code_of(added) == ua.StatusCodes.BadUserAccessDenied
            assert await code_of(client.delete_nodes([own(client, "Line.Ready")])) == ua.StatusCodes.BadUserAccessDenied

    run(work())
