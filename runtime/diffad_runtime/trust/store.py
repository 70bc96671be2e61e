"""A folder of trusted keys, and what they say of a bundle.

Knows the folder's files, and what is refused. Does not know whether a signature is asked for at all (policy.py).

    /etc/diffad-edge/keys/    nobody but its owner may write here
        line.pub              public keys in PEM, as 'diffad-edge keygen' makes them; names are for people
        versions.json         versions.py; optional, the models folder has one of its own

Whatever else lies there is an error: a key in a file of another name would be a key that is not trusted, unnoticed.
"""

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from diffad_runtime.bundle import Bundle
from diffad_runtime.bundle.container import MANIFEST
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.trust.keys import PUBLIC_SUFFIX, PublicKey, need_cryptography, read_public
from diffad_runtime.trust.ownership import others_may_replace, others_may_write
from diffad_runtime.trust.signature import parse_signature, stamp
from diffad_runtime.trust.versions import FILE as VERSIONS
from diffad_runtime.trust.versions import read_versions, too_old_to_run

_MOST_KEYS = 64
_OWN = "Name a folder that only its owner may write to: chmod go-w"


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key of the folder, for people."""

    key_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """What was found out about a bundle's signature, where nothing speaks against it.

    Attributes:
        signed: it carries a signature.
        checked: the signature was looked at and is right; False where it has none, or no keys are trusted here.
        key_id: of the trusted key that made it; where it was not checked, of the one that it names; "" unsigned.
        key_name: the key's file, "" where it was not checked.
        signed_at, expires: UTC, as in 2026-11-27T08:00:00Z; "" unsigned, and where it never expires.
    """

    signed: bool
    checked: bool
    key_id: str = ""
    key_name: str = ""
    signed_at: str = ""
    expires: str = ""

    def text(self) -> str:
        """For people, as in "signed by line.pub (0123456789abcdef), never expires"."""
        if not self.signed:
            return "unsigned"
        if not self.checked:
            return f"signed by {self.key_id or 'nobody that can be named'}, not checked: no keys are trusted here"
        until = f"expires {self.expires}" if self.expires else "never expires"
        return f"signed by {self.key_name} ({self.key_id}), {until}"


class TrustStore:
    """Keys of one folder. They are read at every check, so a key that was taken away is not trusted any more.

    Args:
        folder: of *.pub files.
        versions: how old a model may be; None: versions.json in that folder. Where there is none, any age will do.

    Raises:
        InputError: no such folder.
    """

    def __init__(self, folder: str | Path, versions: str | Path | None = None) -> None:
        self.folder = Path(folder).resolve()
        self.versions = self.folder / VERSIONS if versions is None else Path(versions)
        if not self.folder.is_dir():
            raise InputError(f"there is no folder of trusted keys {folder}", mend="Make it, and put .pub files there")

    def keys(self) -> dict[str, PublicKey]:
        """Trusted keys by id, {} where the folder has none.

        Raises:
            MissingExtraError: cryptography is not installed.
            InputError: a file that is no key, or others may write to it or to the folder.
        """
        if fault := others_may_replace(self.folder):
            raise InputError(f"the trusted keys in {self.folder} are not safe: {fault}", mend=f"{_OWN} {self.folder}")
        try:
            names = sorted(entry.name for entry in self.folder.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            raise InputError(
                f"cannot read the trusted keys in {self.folder}: {error.strerror or error}", mend="Check the folder"
            ) from error
        names = [name for name in names if name != VERSIONS]
        if len(names) > _MOST_KEYS:
            raise InputError(f"{self.folder} has more than {_MOST_KEYS} files", mend="Keep the keys in use alone")
        found: dict[str, PublicKey] = {}
        for path in (self.folder / name for name in names):
            if path.suffix != PUBLIC_SUFFIX:
                raise InputError(f"{path} is no {PUBLIC_SUFFIX} file, and only keys belong there", mend="Take it away")
            if fault := others_may_write(path):
                raise InputError(f"the trusted key {path} is not safe: {fault}", mend=f"{_OWN} {path}")
            key = read_public(path)
            found.setdefault(key.key_id, key)
        return found

    def listed(self) -> tuple[TrustedKey, ...]:
        """Trusted keys in the order of their names.

        Raises:
            MissingExtraError, InputError: as `keys`.
        """
        return tuple(TrustedKey(key.key_id, key.path.name) for key in self.keys().values())

    def check(self, bundle: Bundle, now: datetime | None = None) -> Trusted:
        """Whether a trusted key signed this bundle, its signature holds now, and it is not too old for this device.

        Args:
            bundle: opened.
            now: with a time zone; None: the clock's.

        Raises:
            BundleError: unsigned, signed by an unknown key, a signature that is malformed or not right, expired, or the
                clock cannot tell; older than what this device goes back to.
            MissingExtraError: cryptography is not installed.
            InputError: the folder cannot be used, or versions.json is damaged.
        """
        found = self.check_signature(bundle, now)
        self.check_age(bundle)
        return found

    def check_signature(self, bundle: Bundle, now: datetime | None = None) -> Trusted:
        """As `check`, without the version.

        Raises:
            BundleError, MissingExtraError, InputError: as `check`.
        """
        need_cryptography("checking a bundle's signature")
        keys = self.keys()
        if bundle.signature is None:
            raise _refused(bundle, "it is unsigned", "Sign it with 'diffad-edge sign', and a key that is trusted here")
        try:
            signature = parse_signature(bundle.signature)
        except BundleError as error:
            raise _refused(bundle, error.what, error.mend) from error
        key = keys.get(signature.key_id)
        if key is None:
            trusted = ", ".join(f"{key.path.name} {key_id}" for key_id, key in keys.items()) or "no key at all"
            raise _refused(
                bundle,
                f"key {signature.key_id} signed it, which is not trusted here: {self.folder} has {trusted}",
                "Put that key's .pub file there if you trust it",
            )
        now = (now or datetime.now(timezone.utc)).astimezone(timezone.utc)
        if fault := signature.fault(key, bytes(bundle.whole()[MANIFEST]), now):
            raise _refused(bundle, fault, _mend(fault))
        expires = "" if signature.expires is None else stamp(signature.expires)
        return Trusted(True, True, signature.key_id, key.path.name, stamp(signature.signed), expires)

    def check_age(self, bundle: Bundle) -> None:
        """Whether it is not too old for this device.

        Raises:
            BundleError: too old.
            InputError: versions.json is damaged, or others may write to it.
        """
        if fault := others_may_write(self.versions):
            raise InputError(f"{self.versions} is not safe: {fault}", mend=f"Run: chmod go-w {self.versions}")
        manifest = bundle.manifest
        if fault := too_old_to_run(read_versions(self.versions), manifest.model_id, manifest.version):
            raise _refused(bundle, fault, "Take a newer version")


def _mend(fault: str) -> str:
    if "expired" in fault:
        return "Sign it again with a later expiry, or set this device's clock if it is wrong"
    if "clock" in fault:
        return "Set this device's clock (a board without a battery has none until it has a network), then try again"
    return "Copy the file again from where it was signed, and ask who changed it"


def _refused(bundle: Bundle, why: str, mend: str) -> BundleError:
    return BundleError(f"bundle {bundle.path} is not trusted: {why}", mend=mend)
