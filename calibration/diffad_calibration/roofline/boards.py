"""The Jetson boards that an estimate can be made for: one aligned table, peaks without sparsity, GPU only.

Knows data sheets. Does not know any graph, nor how much of a peak is reached.

Sources, as marked: [D] data sheet or technical brief of the module; [I] inferred here, in the way stated.

- INT8 and FP16 on tensor cores and GB/s: Orin Nano 8 GB [D]; the others from data sheets that give TOPS with sparsity,
  halved, and FP16 at half of INT8 [I].
- TF32 on tensor cores is half of FP16 [I], as on A100, whose tensor cores do as many FP16 operations a clock as Orin's
  (42.5 TFLOPS of 64 cores at 1.3 GHz: 512; 312 of 432 at 1.41 GHz: 512). Thor: the same ratio [I].
- CUDA cores: 2 x cores x highest GPU clock of the mode, both [D]; for AGX Orin the technical brief says 5.3 itself.
- Memory is shared between CPU and GPU [D].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from diffad_runtime.errors import InputError

ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Board:
    """What a board could do at most, in its fastest power mode.

    Attributes:
        name: as the command line has it.
        title: as people have it.
        int8: 1e12 operations a second on tensor cores, INT8.
        fp16: the same, FP16.
        cuda: the same on CUDA cores, FP32: whatever tensor cores cannot do.
        gb_per_s: bandwidth of the memory, 1e9 bytes a second.
        memory_gb: GiB, shared by CPU and GPU.
        source: of these figures.
    """

    name: str
    title: str
    int8: float
    fp16: float
    cuda: float
    gb_per_s: float
    memory_gb: float
    source: str

    @property
    def tf32(self) -> float:
        """1e12 operations a second on tensor cores, FP32 rounded to TF32: half of FP16 [I]."""
        return self.fp16 / 2

    @property
    def fp32(self) -> float:
        """1e12 operations a second in FP32 as it is: CUDA cores."""
        return self.cuda

    def peak(self, rate: str) -> float:
        """1e12 operations a second of "int8", "fp16", "tf32", "fp32" or "cuda"."""
        return float(getattr(self, rate))


_D, _H = "[D]", "[D], FP16 [I]"
BOARDS: Final[dict[str, Board]] = {
    board.name: board
    for board in (
        #     name                   title                        INT8  FP16   CUDA cores            GB/s   GiB
        Board("orin-nano-8gb",       "Orin Nano 8 GB",            20.0, 10.0,  2 * 1024 * 0.625e-3,  68.0,   8, _D),
        Board("orin-nano-8gb-super", "Orin Nano 8 GB Super",      33.5, 16.7,  2 * 1024 * 1.020e-3, 102.0,   8, _D),
        Board("orin-nx-16gb",        "Orin NX 16 GB",             30.0, 15.0,  2 * 1024 * 0.918e-3, 102.0,  16, _H),
        Board("orin-nx-16gb-super",  "Orin NX 16 GB Super",       38.0, 19.0,  2 * 1024 * 1.173e-3, 102.0,  16, _H),
        Board("agx-orin-64gb",       "AGX Orin 64 GB",            85.0, 42.5,  5.3,                 205.0,  64, _H),
        Board("thor-t5000",          "Thor T5000",               517.0, 258.0, 2 * 2560 * 1.575e-3, 273.0, 128, _H),
    )
}  # fmt: skip


def boards_named(names: Sequence[str]) -> list[Board]:
    """Boards in the order given, each once; "all": every one of the table.

    Raises:
        InputError: none given, or an unknown name.
    """
    known = f"Name one of {', '.join(BOARDS)}, or {ALL}"
    if not names:
        raise InputError("no board to estimate for", mend=known)
    wanted = [board for name in names for board in (BOARDS if name == ALL else (name,))]
    for name in wanted:
        if name not in BOARDS:
            raise InputError(f"unknown board {name!r}", mend=known)
    return [BOARDS[name] for name in dict.fromkeys(wanted)]
