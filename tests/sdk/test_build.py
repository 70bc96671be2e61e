"""`diffad-edge build`, and what `status`, `run` and `verify` make of its engines, on a simulated machine.

In this process, so that the simulator is what the commands import.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result
from cudasim import Machine
from typer.testing import CliRunner

from diffad_edge.cli.app import app
from diffad_runtime import provision
from diffad_runtime.enginecache.store import EngineStore
from diffad_runtime.errors import InputError

BUILD = "Builder.build_serialized_network"
FIRST = "int8-fp16-trt"

Cli = Callable[..., Result]


@pytest.fixture(params=["integrated", "discrete"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    made = Machine(integrated=request.param == "integrated")
    with made.installed():
        yield made
        made.assert_clean()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer frames are timed, and tables are wide."""
    monkeypatch.setattr(provision, "_WARM_UP", 1)
    monkeypatch.setattr(provision, "_TIMED", 3)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder is another one, which must stay empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "cache"


@pytest.fixture
def cli(cache: Path, tmp_path: Path) -> Iterator[Cli]:
    """A command with --cache."""

    def invoke(command: str, *arguments: object, folder: bool = True) -> Result:
        given = [command, *map(str, arguments), *(["--cache", str(cache)] if folder else [])]
        return CliRunner().invoke(app, given)

    yield invoke
    assert not (tmp_path / "home").exists()


def told(result: Result, code: int = 0) -> dict[str, Any]:
    assert result.exit_code == code, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(record, dict)
    return record


def error_of(result: Result, code: int) -> str:
    """The last line of stderr."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    last: str = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    return last.removeprefix("error: ")


def test_a_table_and_lines_of_what_it_does(machine: Machine, cli: Cli, golden_bundle: Path) -> None:
    first = cli("build", golden_bundle)
    assert first.exit_code == 0, first.output
    assert first.stderr.splitlines() == [
        f"building the engine extractor.{FIRST}", f"building the engine reconstructor.{FIRST}",
    ]  # fmt: skip
    lines = [line.split() for line in first.stdout.splitlines()]
    rows = [line for line in lines if line and line[0].endswith(FIRST)]
    assert [row[0] for row in rows] == [f"extractor.{FIRST}", f"reconstructor.{FIRST}"]
    for row in rows:
        assert row[2] == "s"
        assert row[5] == "passed"
        float(row[6])
    assert f"{FIRST}: image of the input size in, map out: p50 " in first.stdout
    assert "launched as CUDA graphs" in first.stdout
    second = cli("build", golden_bundle)
    assert second.exit_code == 0
    assert second.stderr == ""
    assert second.stdout.count("in the cache") == 2
    assert machine.count(BUILD) == 2


@pytest.mark.usefixtures("machine")
def test_json(cli: Cli, golden_bundle: Path) -> None:
    record = told(cli("build", golden_bundle, "--variant", "fp16,fp32", "--json"))
    assert record["ok"] is True
    assert list(record["variants"]) == ["fp16", "fp32"]
    one = record["variants"]["fp16"]
    assert (one["ok"], one["reason"], one["mend"], one["cuda_graphs"]) == (True, "", "", True)
    assert one["golden"]["status"] == "passed"
    assert [engine["name"] for engine in one["engines"]] == ["extractor.fp16", "reconstructor.fp16"]
    assert all(engine["build_s"] >= 0 and engine["lost"] == "" for engine in one["engines"])
    assert one["latency_ms"]["total"]["p50"] > 0
    again = told(cli("build", golden_bundle, "--variant", "fp16", "--json"))
    assert [engine["build_s"] for engine in again["variants"]["fp16"]["engines"]] == [None, None]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("given", [["--variant", "fp16", "--variants", "fp32"], ["--variant", " fp16 , fp32"]])
def test_variants_by_commas_or_by_repeating(cli: Cli, golden_bundle: Path, given: list[str]) -> None:
    assert list(told(cli("build", golden_bundle, *given, "--json"))["variants"]) == ["fp16", "fp32"]


def test_options_reach_the_builder(machine: Machine, cli: Cli, golden_bundle: Path, cache: Path) -> None:
    cli("build", golden_bundle, "--variant", "fp32", "--optimisation-level", 5, "--workspace-mb", 99)
    names = [path.stem.partition("-")[2] for path in (cache / "engines").glob("*.plan")]
    assert names == ["o5-w99", "o5-w99"]
    limits = [call.arguments["bytes"] for call in machine.calls if call.name.endswith("set_memory_pool_limit")]
    assert limits == [99 << 20, 99 << 20]
    cli("build", golden_bundle, "--variant", "fp32", "--rebuild")
    assert machine.count(BUILD) == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--variant", "int9"], "no variant 'int9'"),
        (["--variant", "int8"], "variant 'int8' is made for CPUs, not for tensorrt"),
        (["--variant", "fp16,fp16"], "expected different variants, got fp16, fp16"),
        (["--variant", ","], "variant"),
    ],
)
def test_wrong_use_leaves_with_2(machine: Machine, cli: Cli, golden_bundle: Path, given: list[str], said: str) -> None:
    assert said in error_of(cli("build", golden_bundle, *given), 2)
    assert machine.count("Builder") == 0


@pytest.mark.parametrize("given", [["--optimisation-level", "6"], ["--workspace-mb", "0"]])
def test_options_out_of_range_leave_with_2(machine: Machine, cli: Cli, golden_bundle: Path, given: list[str]) -> None:
    assert cli("build", golden_bundle, *given).exit_code == 2
    assert machine.calls == []


@pytest.mark.usefixtures("machine")
def test_a_folder_that_others_may_write_to_is_not_used(
    cli: Cli, golden_bundle: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "engines").mkdir(parents=True)
    (cache / "engines").chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = cli("build", golden_bundle)
    assert done.exit_code == 0
    assert "warning: the engine cache" in done.stderr
    assert "may write to engines" in done.stderr
    assert list((cache / "engines").iterdir()) == []


def test_without_names_the_first_that_judges_right_will_do(machine: Machine, cli: Cli, golden_bundle: Path) -> None:
    machine.faults.build_fails(["Error Code 2: OutOfMemory (no further information)"])
    done = cli("build", golden_bundle, "--json")
    record = told(done)
    assert record["ok"] is True
    assert {name: one["ok"] for name, one in record["variants"].items()} == {FIRST: False, "int8-trt": True}
    assert f"warning: extractor.{FIRST}: the builder ran out of memory" in done.stderr


@pytest.mark.parametrize("given", [[], ["--variant", "fp16"]])
def test_wrong_answers_leave_with_3(machine: Machine, cli: Cli, golden_bundle: Path, given: list[str]) -> None:
    machine.faults.wrong_numbers(scale=2.0)
    done = cli("build", golden_bundle, *given)
    line = error_of(done, 3)
    if given:
        assert "variant 'fp16' on tensorrt does not judge the golden frames as torch does" in line
        assert done.stderr.count("does not judge") == 1  # said once
    else:
        assert "no engine to run was made of int8-fp16-trt, int8-trt, fp16, fp32" in line
        assert done.stderr.count("warning: ") == 4
    record = told(cli("build", golden_bundle, *given, "--json"), 3)
    assert record["ok"] is False
    assert all(one["golden"]["status"] == "refused" for one in record["variants"].values())


@pytest.mark.parametrize("given", [[], ["--variant", "fp16"]])
def test_no_engine_leaves_with_1(machine: Machine, cli: Cli, golden_bundle: Path, given: list[str]) -> None:
    machine.faults.build_fails(["Error Code 2: OutOfMemory (no further information)"], times=-1)
    done = cli("build", golden_bundle, *given)
    line = error_of(done, 1)
    assert ("ran out of memory" in line) == bool(given)
    assert "ran out of memory" in done.stderr
    assert told(cli("build", golden_bundle, *given, "--json"), 1)["ok"] is False


def test_some_failed_and_some_refused_leave_with_1(machine: Machine, cli: Cli, golden_bundle: Path) -> None:
    machine.faults.wrong_numbers(scale=2.0)
    machine.faults.build_fails(times=1)
    error_of(cli("build", golden_bundle), 1)


def test_nan_leaves_with_1(machine: Machine, cli: Cli, golden_bundle: Path) -> None:
    machine.faults.wrong_numbers(nan=True)
    assert "NaN" in error_of(cli("build", golden_bundle, "--variant", "fp32"), 1)


@pytest.mark.usefixtures("machine")
def test_engines_that_could_not_be_kept_leave_with_1(
    cli: Cli, golden_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise InputError("cannot write: No space left on device", mend="Make room")

    monkeypatch.setattr(EngineStore, "keep", full)
    done = cli("build", golden_bundle, "--json")
    assert told(done, 1)["ok"] is False
    assert error_of(done, 1).startswith(f"engines of {FIRST} were built, but could not be kept")
    assert "No space left on device" in done.stderr


def test_ctrl_c_leaves_with_130_and_nothing_in_the_cache(
    machine: Machine, cli: Cli, golden_bundle: Path, cache: Path
) -> None:
    machine.faults.cancel_after(10)
    done = cli("build", golden_bundle)
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "interrupted"
    assert list((cache / "engines").iterdir()) == []


LACKING: dict[str, tuple[dict[str, Any], dict[str, bool], str]] = {
    "no TensorRT": ({}, {"tensorrt": False}, "TensorRT is not installed"),
    "no pycuda": ({}, {"pycuda": False}, "pip install 'diffad-edge[jetson]'"),
    "no GPU": ({"gpus": 0}, {}, "CUDA finds no GPU"),
    "an old TensorRT": ({"tensorrt_version": "8.6.1"}, {}, "Install JetPack 6.1 or later"),
}


@pytest.mark.parametrize(("facts", "there", "said"), LACKING.values(), ids=LACKING)
def test_a_machine_that_cannot_leaves_with_1_and_says_what_to_do(
    cli: Cli, golden_bundle: Path, facts: dict[str, Any], there: dict[str, bool], said: str
) -> None:
    with Machine(**facts).installed(**there):
        assert said in error_of(cli("build", golden_bundle), 1)


def test_a_driver_that_fails_while_it_builds_gives_no_traceback(cli: Cli, golden_bundle: Path) -> None:
    for name in ("Context.push", "mem_get_info"):
        machine = Machine(integrated=False)
        with machine.installed():
            machine.faults.cuda_error_on(name, "LogicError", "the driver is broken")
            assert "the driver is broken" in error_of(cli("build", golden_bundle, "--variant", "fp16", "--rebuild"), 1)


@pytest.mark.usefixtures("machine")
def test_the_fastest_first(cli: Cli, golden_bundle: Path, cache: Path, tmp_path: Path) -> None:
    done = cli("build", golden_bundle, "--fastest", "--json")
    record = told(done)
    medians = {name: one["latency_ms"]["total"]["p50"] for name, one in record["variants"].items()}
    order = sorted(medians, key=lambda name: medians[name])
    assert len(order) == 4
    assert f"fastest here: {', '.join(order)}; 'run' tries them in this order" in done.stderr.splitlines()
    (ranking,) = (cache / "rankings").iterdir()
    assert json.loads(ranking.read_text())["p50_ms"] == medians
    frames = tmp_path / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "a.png"), np.full((64, 64, 3), 128, np.uint8))
    run = told(cli("run", golden_bundle, "--camera", f"dir://{frames}", "--json"))
    assert (run["backend"], run["variant"]) == ("tensorrt", order[0])


# What others make of it.


@pytest.mark.usefixtures("machine")
def test_status_shows_what_was_built(cli: Cli, golden_bundle: Path, cache: Path) -> None:
    empty = cli("status")
    assert empty.exit_code == 0
    assert "No engines in" in empty.stdout
    cli("build", golden_bundle, "--variant", "fp16")
    shown = cli("status").stdout
    for words in ("extractor.fp16", "reconstructor.fp16", "tiny v1", "TensorRT 10.3.0", "Orin 8.7", str(cache)):
        assert words in shown, shown
    record = told(cli("status", "--json"))
    assert record["folder"] == str(cache)
    assert {engine["about"]["graph"] for engine in record["engines"]} == {"extractor", "reconstructor"}
    for engine in record["engines"]:
        assert Path(engine["path"]).stat().st_size == engine["size_bytes"] == engine["plan_bytes"]
        assert engine["fault"] == ""


def test_status_says_what_will_be_built_again(machine: Machine, cli: Cli, golden_bundle: Path, cache: Path) -> None:
    cli("build", golden_bundle, "--variant", "fp16")
    plan = next((cache / "engines").glob("extractor*.plan"))
    plan.write_bytes(plan.read_bytes()[:-5])
    assert f"{plan.name} will be built again: it has " in cli("status").stdout
    plan.with_suffix(".json").unlink()
    assert f"{plan.name} will be built again: its side file is missing" in cli("status").stdout
    assert machine.count(BUILD) == 2


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Two grey ones, and one with a white square."""
    folder = tmp_path / "parts"
    folder.mkdir()
    grey = np.full((128, 128, 3), 128, np.uint8)
    for name in ("0.png", "1.png"):
        cv2.imwrite(str(folder / name), grey)
    grey[32:64, 64:96] = 255
    cv2.imwrite(str(folder / "2.png"), grey)
    return folder


GOOD = ["OK", "OK", "NG"]


@pytest.mark.parametrize("given", [[], ["--backend", "tensorrt"], ["--backend", "tensorrt", "--variant", "fp32"]])
def test_run_takes_what_was_built(
    machine: Machine, cli: Cli, golden_bundle: Path, frames: Path, given: list[str]
) -> None:
    cli("build", golden_bundle, *given[2:])
    done = cli("run", golden_bundle, "--camera", f"dir://{frames}", "--json", *given)
    record = told(done)
    assert (record["frames"], record["ng"], record["errors"]) == (3, 1, 0)
    assert (record["backend"], record["variant"]) == ("tensorrt", "fp32" if given[2:] else FIRST)
    assert "engine: tensorrt, variant" in done.stderr
    assert machine.count(BUILD) == 2


def test_run_builds_what_is_missing_and_says_so(machine: Machine, cli: Cli, golden_bundle: Path, frames: Path) -> None:
    done = cli("run", golden_bundle, "--camera", f"dir://{frames}", "--json")
    assert told(done)["backend"] == "tensorrt"
    assert f"building the engine extractor.{FIRST}" in done.stderr
    assert machine.count(BUILD) == 2


def test_run_gives_an_error_verdict_where_a_frame_fails_and_goes_on(
    machine: Machine, cli: Cli, golden_bundle: Path, frames: Path, tmp_path: Path
) -> None:
    cli("build", golden_bundle)
    # 4 golden frames, 2 launches each; then the frame that is first at the engine goes well, and the next one fails.
    before = machine.count("cuGraphLaunch")
    machine.faults.cuda_error_on("cuGraphLaunch", after=8 + 2)
    done = cli("run", golden_bundle, "--camera", f"dir://{frames}", "--json", "--results", tmp_path / "r.jsonl")
    record = told(done, 1)
    assert machine.count("cuGraphLaunch") - before == 8 + 2 * 3 - 1
    assert (record["frames"], record["errors"]) == (3, 1)
    verdicts = [json.loads(line)["verdict"] for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert verdicts.count("ERROR") == 1
    assert [verdict if verdict != "ERROR" else right for verdict, right in zip(verdicts, GOOD, strict=True)] == GOOD


def test_run_on_tensorrt_alone_refuses_wrong_answers(
    machine: Machine, cli: Cli, golden_bundle: Path, frames: Path
) -> None:
    machine.faults.wrong_numbers(scale=2.0)
    arguments = ("run", golden_bundle, "--camera", f"dir://{frames}", "--json", "--threads", 1)
    assert "does not judge the golden frames" in error_of(cli(*arguments, "--backend", "tensorrt"), 3)
    done = cli(*arguments)
    assert told(done)["backend"] == "onnxruntime"
    assert "no variant works on tensorrt" in done.stderr


def test_verify_holds_every_variant_against_the_golden_frames(machine: Machine, cli: Cli, golden_bundle: Path) -> None:
    given = ["verify", golden_bundle, "--parity", "--backend", "tensorrt", "--json"]
    result = cli(*given)
    assert result.exit_code == 0, result.output
    assert machine.count(BUILD) == 8
