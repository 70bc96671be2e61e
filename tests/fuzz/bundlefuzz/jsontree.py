"""JSON as a tree that can be written as no JSON writer would: keys twice, NaN, half characters, numbers without end.

Knows JSON's grammar and where readers disagree on it. Does not know the fields of any file.
"""

import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Pairs:
    """An object; keys may come twice and are written as they are."""

    items: list[tuple[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Raw:
    """Text that is written as it is."""

    text: str


_MOST_BYTES = 6 << 20


def tree(value: Any) -> Any:
    """Plain values with Pairs for dicts, fresh throughout."""
    if isinstance(value, dict):
        return Pairs([(key, tree(one)) for key, one in value.items()])
    return [tree(one) for one in value] if isinstance(value, list) else value


def write(value: Any) -> bytes:
    """UTF-8, half characters among it where a Raw brings them."""
    return _text(value).encode("utf-8", "surrogatepass")


def mutate(rng: random.Random, value: Any) -> bytes:
    """One to three changes somewhere in a tree, written."""
    root = [tree(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(rng, root)
    written = write(root[0])
    if len(written) > _MOST_BYTES:  # refused by its length like any other, and it takes seconds to make
        return mutate(rng, value)
    if rng.random() < 0.03:
        written = rng.choice(
            (
                b"\xef\xbb\xbf" + written,
                written.decode("utf-8", "replace").encode("utf-16"),
                written * 2,
                b" " * 999 + written,
            )
        )
    return written


def any_value(rng: random.Random) -> Any:
    """A value that some reader somewhere did not expect."""
    return rng.choice(_VALUES)(rng)


_VALUES: tuple[Any, ...] = (
    lambda rng: rng.choice((None, True, False, "", [], {}, "x", " ")),
    lambda rng: rng.choice((0, -1, 1, 2, 255, 1 << 31, -(1 << 31), 1 << 53, 1 << 63, (1 << 64) - 1, 1 << 64, 10**30)),
    lambda rng: rng.choice((0.0, -0.0, 0.5, 1e-320, 1e30, 3.5e38, 1e308, -1e308)),
    lambda rng: Raw(
        rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "01", "-", "1.", ".5", "0x10", "+1"])
    ),
    lambda rng: Raw(rng.choice("19") * rng.choice((20, 400, 4299, 4301, 20000))),
    lambda rng: Raw(f'"{rng.choice(_LETTERS)}"'),
    lambda rng: "x" * rng.choice((121, 4097, 70_000)),
    lambda rng: rng.choice(_WORDS),
    lambda rng: Raw("[" * (depth := rng.choice((3, 90, 600, 5000, 100_000))) + "]" * depth),
    lambda rng: Raw('{"a":' * (depth := rng.choice((3, 90, 600, 20_000))) + "1" + "}" * depth),
    lambda rng: Raw(
        "[" + ",".join([rng.choice(["0", "[]", "{}", '""', "1.5", "null"])] * rng.choice((10, 700, 30_000))) + "]"
    ),
    lambda rng: Raw("{" + ",".join(f'"k{i}":0' for i in range(rng.choice((10, 600, 20_000)))) + "}"),
    lambda rng: rng.choice(_DATES),
)
_LETTERS = ("\\ud800", "\\udfff\\ud800", "\ud800", "\\u0000", "\x01", "\\x", "\\u12", "\u202e", "\\u001b[2J")
_WORDS = (
    *["../../etc/passwd", "/etc/passwd", "golden/00.png", "manifest.json", "NUL", "C:\\x", "é", "{}", "%s", "[/x]"],
    "a\0b",
)
_DATES = ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00", "2026-13-01", "-1", "1e10"]


def _change(rng: random.Random, root: list[Any]) -> None:
    holder, place = rng.choice(places(root))
    entries = holder.items if isinstance(holder, Pairs) else holder
    key, value = entries[place] if isinstance(holder, Pairs) else (None, entries[place])

    def put(new: Any) -> None:
        entries[place] = (key, new) if isinstance(holder, Pairs) else new

    kind = rng.randrange(11)
    if kind <= 3:
        put(any_value(rng))
    elif kind == 4 and holder is not root:
        del entries[place]
    elif kind == 5:
        entries.append(entries[place])
    elif kind == 6 and isinstance(holder, Pairs):
        entries[place] = (
            rng.choice(("", "x", "../x", "a/b/c", "\ud800", "x" * 5000, str(key).upper(), "\x1b[2J", "\n")),
            value,
        )
    elif kind == 7 and isinstance(value, Pairs):
        value.items.append((rng.choice(("", "extra", "x" * 2000, "\x1b]0;x\x07", "\u202e")), any_value(rng)))
    elif kind == 8 and isinstance(value, list):
        value.extend([any_value(rng)] * rng.choice((1, 100, 5000)))
    elif kind == 9:
        other, where = rng.choice(places(root))
        # A copy: a tree that held itself would never be written to an end.
        put(copy.deepcopy(other.items[where][1] if isinstance(other, Pairs) else other[where]))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        put(rng.choice((-value, value * 2, value + 1, float(value), str(value), [value])))
    else:
        put([value])


def places(root: list[Any]) -> list[tuple[Any, int]]:
    """Every (holder, place in it)."""
    found, waiting = [], [root]
    while waiting:
        holder = waiting.pop()
        entries = holder.items if isinstance(holder, Pairs) else holder
        for place, entry in enumerate(entries):
            found.append((holder, place))
            value = entry[1] if isinstance(holder, Pairs) else entry
            if isinstance(value, list | Pairs):
                waiting.append(value)
        if len(found) > 20_000:
            break
    return found


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{_quoted(key)}:{_text(one)}" for key, one in value.items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    return json.dumps(text)


def parse(data: bytes) -> Any:
    """Plain values of valid JSON."""
    return json.loads(data)
