"""The memory that a PLC reads and writes: what may be touched, and what a write says.

Knows the addresses of registermap.py. Does not know the protocol, nor what a written value leads to.

What is read is one tuple that is replaced as a whole: a request that is answered from it has all values of one moment.
What is written is read back as it was written.
"""

from dataclasses import dataclass, field

from diffad_runtime.line.modbus import registermap as at

_TRIGGER, _ACK = 1 << at.COIL_TRIGGER, 1 << at.COIL_ACK
_NO_STATUS = (0,) * at.READ_SIZE


@dataclass(frozen=True, slots=True)
class Written:
    """What one request said. None: nothing about it.

    Attributes:
        trigger, ack: levels, of the coil or the bit of `control`, whichever is high.
        trigger_number, ack_number, recipe, heartbeat: the registers' values.
    """

    trigger: bool | None = None
    ack: bool | None = None
    trigger_number: int | None = None
    ack_number: int | None = None
    recipe: int | None = None
    heartbeat: int | None = None


@dataclass(slots=True)
class Bank:
    """Not for two threads at once, but for `image`, which may be replaced at any time.

    Attributes:
        image: the block that is read, READ_SIZE registers.
        coils, written: what PLCs wrote.
    """

    image: tuple[int, ...] = _NO_STATUS
    coils: list[bool] = field(default_factory=lambda: [False] * at.COILS_SIZE)
    written: list[int] = field(default_factory=lambda: [0] * at.WRITE_SIZE)

    def __post_init__(self) -> None:
        self.written[at.RECIPE] = at.NO_RECIPE

    def read_bits(self, table: str, address: int, count: int) -> list[bool] | None:
        """Coils ("c") or discrete inputs ("d"); None: not all of these addresses are there."""
        if table == "c":
            return self.coils[address : address + count] if address + count <= at.COILS_SIZE else None
        if address + count > at.BITS_SIZE:
            return None
        status = self.image[0]  # once: the image may be another one before the next bit
        return [bool(status >> bit & 1) for bit in range(address, address + count)]

    def read_registers(self, table: str, address: int, count: int) -> list[int] | None:
        """Input ("i") or holding ("h") registers; None: not all of these addresses are there."""
        if table == "h" and address + count <= at.WRITE_SIZE:
            return self.written[address : address + count]
        start = address - at.MIRROR if table == "h" else address
        if start < 0 or start + count > at.READ_SIZE:
            return None
        return list(self.image[start : start + count])

    def write_coils(self, address: int, values: list[bool]) -> Written | None:
        """None: not all of these addresses are there, and nothing was written."""
        if address + len(values) > at.COILS_SIZE:
            return None
        self.coils[address : address + len(values)] = values
        touched = range(address, address + len(values))
        return Written(
            trigger=self._high(_TRIGGER, at.COIL_TRIGGER) if at.COIL_TRIGGER in touched else None,
            ack=self._high(_ACK, at.COIL_ACK) if at.COIL_ACK in touched else None,
        )

    def write_registers(self, address: int, values: list[int]) -> Written | None:
        """None: not all of these addresses may be written, and nothing was."""
        if address + len(values) > at.WRITE_SIZE:
            return None
        self.written[address : address + len(values)] = values
        new = dict(enumerate(values, address))
        return Written(
            trigger=self._high(_TRIGGER, at.COIL_TRIGGER) if at.CONTROL in new else None,
            ack=self._high(_ACK, at.COIL_ACK) if at.CONTROL in new else None,
            trigger_number=new.get(at.TRIGGER_NUMBER),
            ack_number=new.get(at.ACK_NUMBER),
            recipe=new.get(at.RECIPE),
            heartbeat=new.get(at.PLC_HEARTBEAT),
        )

    @property
    def part_id(self) -> str:
        """As it stands now."""
        return at.text_of(self.written[at.PART_ID : at.PART_ID + at.PART_ID_SIZE])

    def _high(self, bit: int, coil: int) -> bool:
        return self.coils[coil] or bool(self.written[at.CONTROL] & bit)
