"""Where engines built on this device are kept.

Knows the user's cache folder. Does not know what lies in it.
"""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The default: $XDG_CACHE_HOME/diffad-edge, or ~/.cache/diffad-edge; not made, and maybe not writable."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "diffad-edge"
