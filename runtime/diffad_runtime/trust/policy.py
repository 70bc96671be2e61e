"""Whether a bundle must be signed on this device, and what follows.

Knows three cases. Does not know how a signature is checked (store.py).

    required          only what a trusted key signed
    keys, not required    an unsigned bundle will do; a signature that is there must be right
    no keys           nothing can be checked, and that is said
"""

from dataclasses import dataclass
from datetime import datetime

from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.trust.signature import parse_signature, stamp
from diffad_runtime.trust.store import Trusted, TrustStore


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of a bundle here.

    Attributes:
        required: only a bundle that a trusted key signed may run.
        store: of trusted keys; None: there are none.

    Raises:
        InputError: signatures are required, and there is no folder of trusted keys.
    """

    required: bool = False
    store: TrustStore | None = None

    def __post_init__(self) -> None:
        if self.required and self.store is None:
            raise InputError(
                "a signature is required, but no folder of trusted keys was named",
                mend="Name one, and put the .pub files there that this device trusts",
            )

    def check(self, bundle: Bundle, now: datetime | None = None) -> Trusted:
        """What the signature says, and whether the bundle is not too old, where nothing speaks against it.

        Args:
            bundle: opened.
            now: with a time zone; None: the clock's.

        Raises:
            BundleError: it must not be trusted.
            MissingExtraError: there is something to check, and cryptography is not installed.
            InputError: the folder of keys cannot be used.
        """
        found = self.check_signature(bundle, now)
        if self.store is not None:
            self.store.check_age(bundle)
        return found

    def check_signature(self, bundle: Bundle, now: datetime | None = None) -> Trusted:
        """As `check`, without the version.

        Raises:
            BundleError, MissingExtraError, InputError: as `check`.
        """
        if self.store is not None and (self.required or (bundle.signature is not None and self.store.keys())):
            return self.store.check_signature(bundle, now)
        return _unchecked(bundle)


def _unchecked(bundle: Bundle) -> Trusted:
    if bundle.signature is None:
        return Trusted(signed=False, checked=False)
    try:
        told = parse_signature(bundle.signature)
    except BundleError:  # nobody is trusted, so nobody is believed either
        return Trusted(signed=True, checked=False)
    expires = "" if told.expires is None else stamp(told.expires)
    return Trusted(True, False, told.key_id, "", stamp(told.signed), expires)
