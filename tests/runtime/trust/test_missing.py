"""Where cryptography is not installed, what asks for it is refused with the pip line; the rest goes on."""

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from diffad_runtime.trust import KeyPair, sign_bundle

CODE = """
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import DiffadError
from diffad_runtime.trust import Policy, TrustStore, make_key, sign_bundle

keys, unsigned, signed, key = map(Path, sys.argv[1:])
asked = {
    "required, signed": lambda: Policy(True, TrustStore(keys)).check(open_bundle(signed)),
    "required, unsigned": lambda: Policy(True, TrustStore(keys)).check(open_bundle(unsigned)),
    "keys, signed": lambda: Policy(False, TrustStore(keys)).check(open_bundle(signed)),
    "keys, unsigned": lambda: Policy(False, TrustStore(keys)).check(open_bundle(unsigned)),
    "nothing, signed": lambda: Policy().check(open_bundle(signed)),
    "keygen": lambda: make_key(keys / "new.key"),
    "sign": lambda: sign_bundle(unsigned, key),
}
for name, ask in asked.items():
    try:
        ask()
    except DiffadError as error:
        print(f"{name}: {type(error).__name__}: {error}")
    else:
        print(f"{name}: fine")
"""


def test_nothing_is_taken_for_granted(
    bundle_of: Callable[[int], Path], pair: KeyPair, trusted: Path, tmp_path: Path, noon: datetime
) -> None:
    unsigned = bundle_of(1)
    signed = sign_bundle(unsigned, pair.private, out=tmp_path / "signed.diffad", now=noon).path
    before = unsigned.read_bytes()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE, trusted, unsigned, signed, pair.private],
        capture_output=True,
        text=True,
        check=True,
    )
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    refused = {name for name, line in told.items() if line.startswith("MissingExtraError")}
    assert refused == {"required, signed", "required, unsigned", "keys, signed", "keygen", "sign"}
    assert all("pip install 'diffad-edge[trust]'" in told[name] for name in refused)
    assert told["keys, unsigned"] == told["nothing, signed"] == "fine"
    assert unsigned.read_bytes() == before
    assert not (trusted / "new.key").exists()


def test_keys_need_the_package_when_the_folder_is_read(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffad_runtime.errors import MissingExtraError
    from diffad_runtime.trust import TrustStore

    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(MissingExtraError, match="cryptography"):
        TrustStore(trusted).keys()
