"""A client that shares no line with our server: node-opcua, in client.cjs."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from diffad_runtime.line.opcua.certificates import load_certificate
from diffad_runtime.result import Result, Verdict

SCRIPT = Path(__file__).with_name("client.cjs")


def missing() -> str:
    """Why the other client cannot run here; "" where it can."""
    if shutil.which("node") is None:
        return "needs node (Debian: nodejs)"
    looked = subprocess.run(
        ["node", "-e", "require.resolve('node-opcua-client')"], capture_output=True, check=False, timeout=30
    )
    return "" if looked.returncode == 0 else "needs NODE_PATH with node-opcua-client (npm); see docs/opcua.md"


def visit(line: Any, own: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    pem = tmp_path / "client.pem"
    pem.write_bytes(load_certificate(own / "own.der").public_bytes(Encoding.PEM))
    return subprocess.run(
        ["node", str(SCRIPT), line.url, str(pem), str(own / "own.key.pem"), str(tmp_path / "pki"), "part-7", "right"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "NODEOPCUA_DISABLE_BANNER": "1"},
    )


def test_node_opcua_gets_its_verdict(
    line: Any, client_folder: Path, tmp_path: Path, make_result: Callable[..., Result]
) -> None:
    if reason := missing():
        pytest.skip(reason)
    faults = line.adapter.status().faults
    line.desk.verdicts["part-7"] = make_result(Verdict.NG, score=3.5, part_id="part-7", recipe="right")
    done = visit(line, client_folder, tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["security"].endswith("#Basic256Sha256")
    assert seen["unknownRecipe"] == "BadNotFound"
    assert seen["prepared"] == ["Good", "right"]
    assert seen["started"][0] == "Good"
    content = json.loads(seen["event"].pop("content"))
    assert seen["event"] == {
        "jobId": seen["started"][1],
        "partId": "part-7",
        "resultState": 1,
        "verdict": "NG",
        "reject": True,
        "score": 3.5,
    }
    assert (content["verdict"], content["score"]) == ("NG", 3.5)
    assert seen["state"] == "Operational"
    assert line.desk.now.recipe == "right"
    line.desk.prepare("left")
    assert line.adapter.status().faults == faults


def test_node_opcua_is_refused_where_nobody_trusts_it(line: Any, stranger_folder: Path, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    asked = len(line.desk.requests)
    done = visit(line, stranger_folder, tmp_path)
    assert done.returncode == 1
    assert "no ResultReady event" not in done.stderr
    assert len(line.desk.requests) == asked
