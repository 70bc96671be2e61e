"""What a process holds goes down again, and by one heap."""

import subprocess
import sys

import pytest

_GROWN = """
import threading
from pathlib import Path
import diffad_runtime.allocator as allocator

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

assert allocator.few_heaps()
kept = []

def work():  # every other block stays: free pages between those in use, in the middle of a heap
    blocks = [bytearray(20_000) for _ in range(4000)]
    kept.append(blocks[::200])

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
before = resident()
gave = allocator.give_back()
heaps = sum("[heap]" in line for line in Path("/proc/self/maps").read_text().splitlines())
print(before, resident(), gave, heaps)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_free_pages_between_those_in_use_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _GROWN], capture_output=True, text=True, check=True)
    before, after, gave, _ = done.stdout.split()
    assert gave == "True"
    assert int(before) - int(after) > 5000, "pages of 4 KiB"
