"""Where engines built on this device are kept.

Knows the user's cache folder. Does not know what lies in it.
"""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The default: $XDG_CACHE_HOME/diffad-edge, or ~/.cache/diffad-edge; not made, and maybe not writable.

    A user without a home has a folder of temporary files, which the next start of the machine may empty.
    """
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "diffad-edge"
    try:
        return Path.home() / ".cache" / "diffad-edge"
    except RuntimeError:  # a service's user without a home
        return Path(tempfile.gettempdir()) / f"diffad-edge-{os.geteuid()}"
