"""Who made a bundle, and whether it is an older one than this device has had.

ownership.py   what nobody else may have written
keys.py        Ed25519 keys: made, read, their ids
signature.py   manifest.sig: its form, what it is made over, whether it is right at this time
signing.py     a bundle with its signature put in
versions.py    per model id, the lowest version that may run and the highest that was committed
store.py       a folder of trusted keys
policy.py      whether a signature is asked for, and what follows

docs/models.md describes all of it. Every key needs the package `cryptography`, extra [trust]. Where it is missing, a
signature that should be looked at is an error; it is never taken for granted.
"""

from diffad_runtime.trust.keys import KeyPair, make_key
from diffad_runtime.trust.policy import Policy
from diffad_runtime.trust.signing import Signed, sign_bundle
from diffad_runtime.trust.store import Trusted, TrustedKey, TrustStore

__all__ = ["KeyPair", "Policy", "Signed", "TrustStore", "Trusted", "TrustedKey", "make_key", "sign_bundle"]
