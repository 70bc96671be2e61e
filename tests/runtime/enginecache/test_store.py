"""A plan is found whole and of the right device, or not at all; nothing half-written stays."""

import hashlib
import json
import multiprocessing
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.enginecache.key import About, DeviceFacts, EngineKey
from diffad_runtime.enginecache.location import cache_folder
from diffad_runtime.enginecache.store import EngineStore, kept_engines, open_store
from diffad_runtime.errors import InputError

ABOUT = About(
    graph="extractor", variant="int8-trt", model_id="plate", model_version=3, bundle_digest="d" * 64, seconds=2.5
)
DEVICE = {
    "tensorrt": "10.3.0",
    "cuda": "12.6",
    "compute_capability": "8.7",
    "multiprocessors": 8,
    "gpu": "Orin",
    "l4t": "36.4.3",
}
FACTS = {"onnx_sha256": "a" * 64, "tf32": True, "optimisation_level": None, "workspace_mb": None}
KEY = EngineKey(**FACTS, device=DeviceFacts(**DEVICE))
PLAN = bytes(range(256)) * 40


def other(**changed: object) -> EngineKey:
    device = DeviceFacts(**{name: changed.get(name, value) for name, value in DEVICE.items()})
    return EngineKey(**{name: changed.get(name, value) for name, value in FACTS.items()}, device=device)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "engines").iterdir())


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "cache")


def test_what_was_kept_is_found_and_nothing_else_lies_there(store: EngineStore) -> None:
    assert store.find(KEY, ABOUT) == (None, "")
    path = store.keep(KEY, ABOUT, PLAN)
    assert store.find(KEY, ABOUT) == (PLAN, "")
    assert names(store.folder) == [f"extractor.int8-trt.{KEY.name}.json", f"extractor.int8-trt.{KEY.name}.plan"]
    side = json.loads(path.with_suffix(".json").read_text())
    assert side["plan_sha256"] == hashlib.sha256(PLAN).hexdigest()
    assert side["about"]["model_version"] == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((store.folder / "engines").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "changed",
    [
        {"onnx_sha256": "b" * 64},
        {"tensorrt": "10.3.1"},
        {"cuda": "12.8"},
        {"compute_capability": "8.6"},
        {"multiprocessors": 16},
        {"gpu": "Orin (nvgpu)"},
        {"l4t": "36.4.4"},
        {"tf32": False},
        {"optimisation_level": 5},
        {"workspace_mb": 64},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_any_other_fact_is_another_engine(store: EngineStore, changed: dict[str, object]) -> None:
    store.keep(KEY, ABOUT, PLAN)
    assert store.find(other(**changed), ABOUT) == (None, "")
    assert store.find(KEY, ABOUT) == (PLAN, "")


def test_graphs_and_variants_do_not_meet(store: EngineStore) -> None:
    store.keep(KEY, ABOUT, PLAN)
    assert store.find(KEY, ABOUT.model_copy(update={"graph": "reconstructor"}))[0] is None
    assert store.find(KEY, ABOUT.model_copy(update={"variant": "fp16"}))[0] is None


def test_options_that_nobody_asks_for_take_what_was_built_last(store: EngineStore) -> None:
    store.keep(KEY, ABOUT, b"default")
    time.sleep(0.02)
    store.keep(other(optimisation_level=5), ABOUT, b"level 5")
    assert store.find(KEY, ABOUT) == (b"level 5", "")
    assert store.find(other(optimisation_level=5), ABOUT) == (b"level 5", "")
    assert store.find(other(optimisation_level=4), ABOUT) == (None, "")
    assert store.find(other(optimisation_level=5, workspace_mb=1), ABOUT) == (None, "")
    time.sleep(0.02)
    store.keep(KEY, ABOUT, b"default again")
    assert store.find(KEY, ABOUT) == (b"default again", "")


def truncate(plan: Path) -> None:
    plan.write_bytes(PLAN[:-1])


def flip(plan: Path) -> None:
    plan.write_bytes(PLAN[:-1] + b"\x00")


def lose_side(plan: Path) -> None:
    plan.with_suffix(".json").unlink()


def spoil_side(plan: Path) -> None:
    plan.with_suffix(".json").write_text("{}")


def foreign_side(plan: Path) -> None:
    side = json.loads(plan.with_suffix(".json").read_text())
    side["key"]["device"]["tensorrt"] = "10.4.0"
    plan.with_suffix(".json").write_text(json.dumps(side))


def open_to_all(plan: Path) -> None:
    plan.chmod(0o666)


def of_another_user(plan: Path) -> None:
    os.chown(plan, 12345, 12345)


def a_link(plan: Path) -> None:
    elsewhere = plan.parent.parent / "elsewhere.bin"
    elsewhere.write_bytes(PLAN)
    plan.unlink()
    plan.symlink_to(elsewhere)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (truncate, "it has 10239 bytes, its side file says 10240"),
        (flip, "its SHA-256 is not the one of its side file"),
        (lose_side, "its side file is missing"),
        (spoil_side, "its side file is not valid"),
        (foreign_side, "its side file is that of another device"),
        (open_to_all, "others may write to .*0666"),
        pytest.param(of_another_user, "belongs to another user .uid 12345", marks=as_root),
        (a_link, "is a link"),
    ],
)
def test_what_cannot_be_trusted_is_set_aside_once(store: EngineStore, harm: Callable[[Path], None], why: str) -> None:
    plan = store.keep(KEY, ABOUT, PLAN)
    harm(plan)
    found, said = store.find(KEY, ABOUT)
    assert found is None
    assert re.search(why, said), said
    assert names(store.folder) == [plan.name + ".refused"]
    assert store.find(KEY, ABOUT) == (None, "")
    # And the way is free for the next one; the one set aside stays one.
    assert store.keep(KEY, ABOUT, PLAN) == plan
    assert store.find(KEY, ABOUT) == (PLAN, "")
    harm(plan)
    store.find(KEY, ABOUT)
    assert names(store.folder) == [plan.name + ".refused"]


def test_what_tensorrt_refused_is_set_aside(store: EngineStore) -> None:
    plan = store.keep(KEY, ABOUT, PLAN)
    store.refuse(KEY, ABOUT)
    assert names(store.folder) == [plan.name + ".refused"]
    store.refuse(KEY, ABOUT)


def test_two_generations_stay_of_each_graph(store: EngineStore) -> None:
    beside = ABOUT.model_copy(update={"graph": "reconstructor"})
    store.keep(KEY, beside, b"beside")
    for version in ("10.3.0", "10.4.0", "10.5.0"):
        store.keep(other(tensorrt=version), ABOUT, version.encode())
        time.sleep(0.02)
    assert store.find(other(tensorrt="10.3.0"), ABOUT) == (None, "")
    assert store.find(other(tensorrt="10.4.0"), ABOUT)[0] == b"10.4.0"
    assert store.find(other(tensorrt="10.5.0"), ABOUT)[0] == b"10.5.0"
    assert store.find(KEY, beside)[0] == b"beside"
    assert len(kept_engines(store.folder)) == 3


def test_a_full_disk_leaves_nothing(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".json":
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        store.keep(KEY, ABOUT, PLAN)
    assert names(store.folder) == []


def test_a_new_plan_never_stands_beside_an_old_side_file(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.keep(KEY, ABOUT, PLAN)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffad_runtime.enginecache.store.SideFile.model_dump_json", killed)
    with pytest.raises(KeyboardInterrupt):
        store.keep(KEY, ABOUT, PLAN[::-1])
    assert store.find(KEY, ABOUT)[0] is None


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache" / "engines").mkdir(parents=True)
    (tmp_path / "cache" / "engines").chmod(0o777)
    with pytest.raises(InputError, match=r"not safe: others may write to engines .mode 0777.*--cache"):
        EngineStore(tmp_path / "cache")


def test_where_the_folder_cannot_be_used_another_is_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "second"))
    (tmp_path / "second").mkdir()
    (tmp_path / "file").write_text("")
    said: list[str] = []
    store = open_store(tmp_path / "file" / "cache", said.append)
    assert store.folder == tmp_path / "second" / f"diffad-edge-{os.geteuid()}"
    assert len(said) == 1
    assert "Not a directory" in said[0]
    assert str(store.folder) in said[0]
    assert "--cache" in said[0]
    store.keep(KEY, ABOUT, PLAN)
    assert open_store(tmp_path / "file" / "cache", said.append).find(KEY, ABOUT) == (PLAN, "")


def test_engines_of_a_read_only_folder_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = EngineStore(tmp_path / "image")
    path = image.keep(KEY, ABOUT, PLAN)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "second"))
    (tmp_path / "second").mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    real = EngineStore.__init__

    def init(self: EngineStore, folder: Path, also: Path | None = None) -> None:
        if folder == image.folder:
            raise InputError("the engine cache cannot be used: Read-only file system", mend="Name another")
        real(self, folder, also)

    monkeypatch.setattr(EngineStore, "__init__", init)
    store = open_store(image.folder, lambda _: None)
    assert store.find(KEY, ABOUT) == (PLAN, "")
    flip(path)
    found, said = store.find(KEY, ABOUT)
    assert (found, said) == (None, "its SHA-256 is not the one of its side file")
    assert path.exists()  # not ours to move
    store.keep(KEY, ABOUT, PLAN)
    assert store.find(KEY, ABOUT) == (PLAN, "")


def test_leavings_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    store = EngineStore(tmp_path)
    plan = store.keep(KEY, ABOUT, PLAN)
    old = [store.folder / "engines" / name for name in (".x.0123.tmp.plan", "extractor.fp16.00.plan")]
    for path in (*old, store.folder / "engines" / ".new.0123.tmp.plan"):
        path.write_bytes(b"")
    for path in old:
        os.utime(path, (0, 0))
    EngineStore(tmp_path)
    assert names(tmp_path) == sorted([".new.0123.tmp.plan", plan.name, plan.with_suffix(".json").name])


def test_timings_are_of_the_device_not_of_the_graph(store: EngineStore) -> None:
    assert store.timings(KEY.device) == b""
    store.keep_timings(KEY.device, b"times")
    assert store.timings(other(onnx_sha256="b" * 64, tf32=False, optimisation_level=2).device) == b"times"
    assert store.timings(other(tensorrt="10.4.0").device) == b""
    next((store.folder / "timings").iterdir()).chmod(0o666)
    assert store.timings(KEY.device) == b""


def _hold(folder: str, held: "multiprocessing.synchronize.Event", go: "multiprocessing.synchronize.Event") -> None:
    with EngineStore(Path(folder)).building():
        held.set()
        go.wait(20)


def test_one_process_builds_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), held, go))
    process.start()
    try:
        assert held.wait(20)
        store = EngineStore(tmp_path)
        with pytest.raises(KeyboardInterrupt), store.building(cancelled=lambda: True):
            raise AssertionError("two at once")
        waited = []

        def wait() -> None:
            waited.append(1)
            go.set()

        with store.building(wait):
            assert waited == [1]
    finally:
        go.set()
        process.join(20)


def test_status_of_no_folder_at_all(tmp_path: Path) -> None:
    assert kept_engines(tmp_path / "none") == []


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "diffad-edge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "diffad-edge"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder() == tmp_path / f"diffad-edge-{os.geteuid()}"


levels, sizes = st.none() | st.integers(0, 5), st.none() | st.integers(1, 4096)


@given(levels, sizes, levels, sizes)
def test_what_was_asked_for_is_what_is_taken(a: int | None, b: int | None, c: int | None, d: int | None) -> None:
    asked, built = other(optimisation_level=a, workspace_mb=b), other(optimisation_level=c, workspace_mb=d)
    assert asked.accepts(built) == ((a is None or a == c) and (b is None or b == d))
    assert built.accepts(built)
    assert not asked.accepts(built.model_copy(update={"tf32": False}))
    assert asked.facts_name == built.facts_name
    assert (asked.name == built.name) == (asked == built)
