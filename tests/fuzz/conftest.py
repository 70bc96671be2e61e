"""Makes the fuzzer importable, which is no package of the distribution."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
