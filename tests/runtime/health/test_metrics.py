"""The page, scraped over HTTP and read by Prometheus' own parser."""

import json
import math
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from diffad_runtime.errors import InputError, MissingExtraError
from diffad_runtime.health.endpoint import Endpoint
from diffad_runtime.health.families import fault_kind
from diffad_runtime.health.metrics import serve_metrics
from diffad_runtime.result import SourceState
from diffad_runtime.snapshot import BUCKETS_MS, Histogram, Snapshot

Snap = Callable[..., Snapshot]
Series = tuple[str, tuple[tuple[str, str], ...]]


def fetch(endpoint: Endpoint, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(endpoint.url + path, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(endpoint: Endpoint) -> dict[Series, float]:
    """{(name, labels): value}; a series that is there twice is a mistake."""
    status, text = fetch(endpoint, "/metrics")
    assert status == 200, text
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def of(found: dict[Series, float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_every_figure_of_the_snapshot(snap: Snap, tmp_path: Path) -> None:
    faults = ("SETUP: picture blurred: sharpness 0.41 of the reference, limit 0.6", "SETUP: many NG: 120 of 200 parts")
    shot = snap(setup_faults=faults, recipe="left door", pending=2, triggered=True)
    with serve_metrics(
        lambda: shot, "127.0.0.1:0", folders=[tmp_path, tmp_path], gauges=[lambda: {"drift_p_value": 0.25}]
    ) as endpoint:
        found = scrape(endpoint)
    assert of(found, "diffad_verdicts_total", verdict="OK") == 90
    assert of(found, "diffad_verdicts_total", verdict="NG") == 8
    assert of(found, "diffad_verdicts_total", verdict="ERROR") == 2
    assert of(found, "diffad_frames_total") == 103
    assert of(found, "diffad_frames_dropped_total") == 3
    assert of(found, "diffad_frames_rejected_total") == 7
    assert of(found, "diffad_parts_late_total") == 1
    assert of(found, "diffad_parts_pending") == 2
    assert of(found, "diffad_source_reconnects_total") == 4
    assert of(found, "diffad_source_stalls_total") == 5
    assert of(found, "diffad_source_freezes_total") == 6
    assert of(found, "diffad_queue_length", queue="capture") == 1
    for state in SourceState:
        value = of(found, "diffad_source_state", diffad_source_state=state.value)
        assert value == (state is SourceState.STREAMING)
    # Two sinks of one name have two series.
    assert of(found, "diffad_sink_written_total", sink="masks") == 90
    assert of(found, "diffad_sink_written_total", sink="masks 2") == 80
    assert of(found, "diffad_sink_faults_total", sink="masks 2") == 10
    assert of(found, "diffad_sink_dropped_total", sink="masks 2") == 2
    assert of(found, "diffad_sink_waiting", sink="masks 2") == 1
    assert of(found, "diffad_sink_healthy", sink="masks") == 1
    assert of(found, "diffad_sink_healthy", sink="masks 2") == 0
    assert of(found, "diffad_frame_age_seconds") == pytest.approx(0.1)
    assert of(found, "diffad_verdict_age_seconds") == pytest.approx(0.05)
    assert of(found, "diffad_run_age_seconds") == 1000
    assert of(found, "diffad_setup_faults") == 2
    assert of(found, "diffad_setup_fault", fault="picture blurred") == 1
    assert of(found, "diffad_setup_fault", fault="many NG") == 1
    assert of(found, "diffad_drift_p_value") == 0.25
    assert of(found, "diffad_healthy") == 1
    disk = shutil.disk_usage(tmp_path)
    assert of(found, "diffad_disk_size_bytes", folder=str(tmp_path)) == pytest.approx(disk.total)
    assert of(found, "diffad_disk_free_bytes", folder=str(tmp_path)) == pytest.approx(disk.free, rel=0.1)
    info = {"digest": "abc", "variant": "fp32", "backend": "fake", "recipe": "left door"}
    assert of(found, "diffad_bundle_info", **info) == 1
    assert of(found, "process_resident_memory_bytes") > 1e6
    assert of(found, "process_open_fds") > 3
    assert of(found, "process_threads") >= 2


def test_histograms_are_cumulative_and_in_seconds(snap: Snap) -> None:
    counts = tuple(range(len(BUCKETS_MS) + 1))
    with serve_metrics(lambda: snap(stages={"extract": Histogram(counts, 2500.0)}), "127.0.0.1:0") as endpoint:
        found = scrape(endpoint)
    for number, edge in enumerate(BUCKETS_MS):
        buckets = {labels: value for (name, labels), value in found.items() if name == "diffad_stage_seconds_bucket"}
        (value,) = (v for labels, v in buckets.items() if float(dict(labels)["le"]) == edge / 1000)
        assert value == sum(counts[: number + 1])
    assert of(found, "diffad_stage_seconds_bucket", stage="extract", le="+Inf") == sum(counts)
    assert of(found, "diffad_stage_seconds_count", stage="extract") == sum(counts)
    assert of(found, "diffad_stage_seconds_sum", stage="extract") == 2.5


def test_counters_only_grow_while_a_real_run_goes_on(snap: Snap) -> None:
    """Scraped again and again by several clients while all counts move."""
    steps = [0]

    def take() -> Snapshot:
        steps[0] += 1
        n = steps[0]
        shot = snap(
            verdicts={"OK": n, "NG": n // 2, "ERROR": 0},
            dropped=n // 3,
            stages={"total": Histogram((n,) * (len(BUCKETS_MS) + 1), float(n))},
        )
        return replace(shot, source=replace(shot.source, frames=2 * n))

    with serve_metrics(take, "127.0.0.1:0") as endpoint:
        last: dict[Series, float] = {}
        for _ in range(10):
            with_others = [threading.Thread(target=fetch, args=(endpoint, "/metrics")) for _ in range(3)]
            for other in with_others:
                other.start()
            found = scrape(endpoint)
            for other in with_others:
                other.join()
            counts = {
                key: value for key, value in found.items() if key[0].endswith(("_total", "_bucket", "_count", "_sum"))
            }
            assert len(counts) > 20
            assert all(value >= last.get(key, -math.inf) for key, value in counts.items())
            last = counts
    assert of(last, "diffad_verdicts_total", verdict="OK") > 30


def test_labels_may_hold_anything(snap: Snap) -> None:
    odd = 'quote " backslash \\ line\nend é'
    with serve_metrics(lambda: snap(recipe=odd, queues={odd: 1}), "127.0.0.1:0") as endpoint:
        assert of(scrape(endpoint), "diffad_queue_length", queue=odd) == 1


def test_kinds_of_fault_are_few() -> None:
    assert fault_kind("SETUP: picture blurred: sharpness 0.41 of the reference") == "picture blurred"
    assert fault_kind("no colon") == "no colon"
    assert fault_kind("camera 17 lost 3.5 s ago") == "camera N lost N s ago"
    assert len(fault_kind("x" * 1000)) == 60


def test_temperatures(snap: Snap, tmp_path: Path) -> None:
    for number, (kind, text) in enumerate(
        [("gpu-thermal", "51500\n"), ("cv0-thermal", "-256000\n"), ("tj-thermal", "no"), ("cpu-thermal", "49000")]
    ):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(kind + "\n")
        (zone / "temp").write_text(text)
    with serve_metrics(snap, "127.0.0.1:0", root=tmp_path) as endpoint:
        found = scrape(endpoint)
    degrees = {dict(labels)["type"]: value for (name, labels), value in found.items() if "temperature" in name}
    assert degrees == {"gpu-thermal": 51.5, "cpu-thermal": 49.0}
    assert "process_threads" not in {name for name, _ in found}


def test_healthz_and_readyz(snap: Snap) -> None:
    now = [snap(setup_faults=("SETUP: dirt: a spot",))]
    with serve_metrics(lambda: now[0], "127.0.0.1:0") as endpoint:
        status, body = fetch(endpoint, "/healthz")
        assert (status, json.loads(body)) == (
            200,
            {"healthy": True, "reasons": [], "warnings": ["sink masks: disk full", "SETUP: dirt: a spot"]},
        )
        assert fetch(endpoint, "/readyz") == (200, '{"ready": true, "reasons": []}\n')
        now[0] = snap(state=SourceState.STALLED, last_frame=995.0)
        assert fetch(endpoint, "/healthz")[0] == 200
        assert fetch(endpoint, "/readyz") == (503, '{"ready": false, "reasons": ["the camera is stalled"]}\n')
        now[0] = snap(state=SourceState.STALLED, last_frame=980.0, detail="no frame")
        status, body = fetch(endpoint, "/healthz")
        assert (status, json.loads(body)["reasons"]) == (503, ["the camera is stalled for 20 s, limit 10: no frame"])
        assert of(scrape(endpoint), "diffad_healthy") == 0
        now[0] = snap(last_verdict=None, last_frame=None, started=999.0)
        assert json.loads(fetch(endpoint, "/readyz")[1])["reasons"] == ["no verdict yet"]
        assert fetch(endpoint, "/other")[0] == 404


def test_a_run_that_cannot_say_how_it_is() -> None:
    def take() -> Snapshot:
        raise RuntimeError("no")

    with serve_metrics(take, "127.0.0.1:0") as endpoint:
        assert [fetch(endpoint, path)[0] for path in ("/metrics", "/healthz", "/readyz")] == [500, 500, 500]


def test_bound_to_this_machine_unless_told(snap: Snap) -> None:
    with serve_metrics(snap, "0") as endpoint:
        assert endpoint.host == "127.0.0.1"
        with pytest.raises(InputError, match="cannot listen on"):
            serve_metrics(snap, endpoint.url.removeprefix("http://"))


def test_without_the_package(snap: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"diffad-edge\[metrics\]"):
        serve_metrics(snap, "127.0.0.1:0")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_has_nothing_to_say(snap: Snap, tmp_path: Path) -> None:
    shot = snap(setup_faults=("SETUP: dirt: a spot",))
    gauges = [lambda: {"drift_p_value": 1.0, "drift_shift_deviations": 0.1, "camera_brightness_ratio": 1.0}]
    with serve_metrics(lambda: shot, "127.0.0.1:0", folders=[tmp_path], gauges=gauges) as endpoint:
        page = fetch(endpoint, "/metrics")[1]
    said = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_the_document_names_every_metric_and_no_other(snap: Snap, tmp_path: Path) -> None:
    """docs/operations.md, its table and its alert rules, beside a page with all there can be."""
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("gpu")
    (zone / "temp").write_text("50000")
    status = tmp_path / "proc/self/status"
    status.parent.mkdir(parents=True)
    status.write_text("Threads:\t7\n")
    gauges = dict.fromkeys(DRIFT_GAUGES | CAMERA_GAUGES, 1.0)
    shot = snap(setup_faults=("SETUP: dirt: a spot",))
    with serve_metrics(
        lambda: shot, "127.0.0.1:0", folders=[tmp_path], gauges=[lambda: gauges], root=tmp_path
    ) as endpoint:
        there = {name for name, _ in scrape(endpoint)}
    there = {re.sub(r"^(diffad_stage_seconds)_(bucket|count|sum)$", r"\1", name) for name in there}
    text = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    named = set(re.findall(r"\b(?:diffad|process)_[a-z_]+\b", text)) - {"diffad_runtime", "diffad_stage_seconds_bucket"}
    assert {name for name in named if name.startswith("diffad_")} == {n for n in there if n.startswith("diffad_")}
    assert named - there == set()


DRIFT_GAUGES = {"drift_p_value", "drift_shift_deviations", "drift_active"}
CAMERA_GAUGES = {f"camera_{name}_ratio" for name in ("sharpness", "brightness", "contrast", "shift", "saturated")} | {
    "camera_learned",
    "camera_dirt_spots",
}


def test_the_gauges_of_the_watches_are_those() -> None:
    from diffad_runtime.health.camera import CameraHealth
    from diffad_runtime.health.driftwatch import DriftWatch
    from diffad_runtime.health.reference import learn
    from diffad_runtime.manifest import NormalScores
    from diffad_runtime.result import Frame, Verdict

    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(12)]
    camera = CameraHealth(learn(pictures))
    for number, picture in enumerate(pictures):
        camera.look(Frame(picture, number, 2.0 * number, datetime.now(timezone.utc)), Verdict.OK)
    assert set(camera.gauges()) == CAMERA_GAUGES
    scores = [float(each) for each in range(1, 41)]
    drift = DriftWatch(NormalScores(count=40, ranks=list(range(1, 41)), values=scores), 50.0, window=20)
    for score in scores:
        drift.add(score, Verdict.OK)
    assert set(drift.gauges()) == DRIFT_GAUGES
