"""keygen, sign, verify --trust, install, commit, rollback, status and run on a folder, as they are typed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from diffad_edge.cli.app import app
from diffad_runtime.bundle import open_bundle, write_bundle

pytest.importorskip("cryptography", reason="the extra [trust] is not installed")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def reported(*arguments: str | Path) -> dict[str, Any]:
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def refused(*arguments: str | Path, words: str, code: int = 2) -> None:
    done = call(*arguments)
    assert done.exit_code == code, done.output
    assert words in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.output


@pytest.fixture
def shop(golden_bundle: Path, tmp_path: Path) -> Path:
    """line.key, keys/line.pub, and v1.diffad and v2.diffad, signed."""
    assert call("keygen", tmp_path / "line.key").exit_code == 0
    (tmp_path / "keys").mkdir(mode=0o755)
    (tmp_path / "line.pub").rename(tmp_path / "keys" / "line.pub")
    base = open_bundle(golden_bundle)
    for version in (1, 2):
        path = tmp_path / f"v{version}.diffad"
        manifest = base.manifest.model_copy(update={"version": version})
        write_bundle(path, manifest, {name: base.read(name) for name in manifest.members})
        assert reported("sign", path, "--key", tmp_path / "line.key")["version"] == version
    return tmp_path


def test_keys(tmp_path: Path) -> None:
    made = reported("keygen", tmp_path / "a.key", "--passphrase", "a long one")
    assert made["key_id"].isalnum()
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600
    refused("keygen", tmp_path / "a.key", words="never overwritten")
    refused("sign", tmp_path / "none.diffad", "--key", tmp_path / "b.key", words="b.key")


def test_signatures(shop: Path, golden_bundle: Path) -> None:
    trust = ("--trust", shop / "keys", "--require-signature")
    found = reported("verify", shop / "v1.diffad", *trust)
    assert (found["signed"], found["signature"]["checked"]) == (True, True)
    assert "signed by line.pub" in call("verify", shop / "v1.diffad", *trust).output
    refused("verify", golden_bundle, *trust, words="unsigned")
    refused("verify", golden_bundle, "--require-signature", words="no folder of trusted keys")
    damaged = bytearray((shop / "v1.diffad").read_bytes())
    at = damaged.index(b"manifest.sig") + 200
    damaged[at] ^= 1
    (shop / "bad.diffad").write_bytes(damaged)
    refused("verify", shop / "bad.diffad", *trust, words="bundle")
    refused("sign", shop / "v1.diffad", "--key", shop / "line.key", "--expires", "2001-01-01", words="expire")
    refused("run", golden_bundle, "--camera", "synthetic://line?count=2", *trust, words="unsigned")


def test_a_model_from_its_installation_to_the_way_back(shop: Path) -> None:
    models, trust = shop / "models", ("--trust", shop / "keys", "--require-signature")
    refused("status", models, words=str(models))
    refused("commit", models, words="models")
    first = reported("install", models, shop / "v1.diffad", *trust)
    assert (first["generation"], first["current"], first["test"]["frames"] > 0) == (1, None, True)
    refused("install", models, shop / "v2.diffad", *trust, words="still on trial")
    assert reported("commit", models)["current"] == 1
    reported("install", models, shop / "v2.diffad", *trust)
    assert reported("rollback", models)["what"] == "dropped"
    reported("install", models, shop / "v2.diffad", *trust)
    assert reported("commit", models)["previous"] == 1
    refused("install", models, shop / "v1.diffad", *trust, words="not installed")
    roles = {one["role"]: one["version"] for one in reported("status", models)["models"]["generations"]}
    assert roles == {"current": 2, "previous": 1}
    table = call("status", models).output
    assert "current" in table
    assert "whole" in table
    assert reported("rollback", models)["current"] is not None
    refused("rollback", models, words="no generation to go back to")


def test_run_follows_the_folder(shop: Path) -> None:
    models, trust = shop / "models", ("--trust", shop / "keys")
    reported("install", models, shop / "v1.diffad", *trust)
    done = call(
        "run", models, *trust, "--camera", "synthetic://line?fps=0&size=64&count=40", "--json",
        "--trial-parts", "5", "--trial-minutes", "0", "--results", shop / "r.jsonl",
    )  # fmt: skip
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["frames"] == 40
    digests = {json.loads(line)["bundle_digest"] for line in (shop / "r.jsonl").read_text().splitlines()}
    assert digests == {open_bundle(shop / "v1.diffad").digest}


def test_run_on_a_folder_without_models(tmp_path: Path) -> None:
    refused("run", tmp_path, "--camera", "synthetic://line?count=2", words=str(tmp_path))
