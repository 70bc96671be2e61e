"""Recipes changed line by line, and what TOML readers trip over.

Knows TOML's grammar. Does not know the fields of a recipe.
"""

import random

from bundlefuzz import octets

VALUES = (
    "0", "-1", "1.5", "true", '""', "[]", "{}", "nan", "inf", "-inf", "1e308", "9" * 400, "0x" + "f" * 5000, "1e400",
    "1979-05-27", "1979-05-27T07:32:00Z", "25:61:61", '"x"', '"' + "x" * 5000 + '"', "[[]]", "[[[[1]]]]", "[1, 'a']",
    '"../mask.png"', '"/etc/passwd.png"', '"a\\u0000b.png"', '"mask.png"', '"\\u001b[2J"', '"\\ud800"', "'''\n'''",
    "[" * 4000 + "]" * 4000, "{a = " * 300 + "1" + "}" * 300, "[120, 90]", "[[0, 0], [9, 0], [9, 9]]",
    "[[[0,0],[1,1],[0,1],[1,0]]]", "[[[1e30,0],[0,1e-30],[5,5]]]", "[[[0,0],[0,0],[0,0]]]", "9007199254740993",
)  # fmt: skip
KEYS = (
    "version", "name", "index", "frame", "x", '"a.b"', '""', "a.b.c", "regions", '"\\u001b[2J"', '"' + "k" * 3000 + '"',
    "name.a", "1.2.3", "tiling.size", "size", "overlap", "polygons", "image", "rotate",
)  # fmt: skip


def lines(rng: random.Random) -> str:
    """A line that costs a reader dearly, or that it should not take."""
    count = rng.choice((3, 200, 3000))
    return rng.choice(
        (
            "a." * count + "b = 1",
            "name" + ".a" * count + " = 1",
            "[" + "a." * count + "b]",
            "[[regions]]\n" * count,
            "[[ignore]]\nimage = 'mask.png'\n" * min(count, 70),
            "".join(f"[t{i}]\n" for i in range(count)),
            "".join(f"k{i} = {i}\n" for i in range(count)),
            '"." . ' * count + "x = 1",
            "x = [" + "1," * count + "]",
            "x = " + "[" * count + "]" * count,
            "polygons = [[" + ",".join(f"[{i},{i * i % 97}]" for i in range(min(count, 600))) + "]]",
            "# " + "x" * count,
            'x = """' + "\\\n" * count + '"""',
            "\x00",
            "\ufeff",
            "x = 1 # \x7f",
        )
    )


def mutate(rng: random.Random, text: str) -> bytes:
    """One to three changes."""
    parts = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(parts))
        kind = rng.randrange(7)
        key, equals, _ = parts[at].partition("=")
        if kind <= 2 and equals:
            parts[at] = f"{key}= {rng.choice(VALUES)}"
        elif kind == 3 and equals:
            parts[at] = f"{rng.choice(KEYS)} = {parts[at].partition('=')[2]}"
        elif kind == 4:
            parts[at:at] = [lines(rng)] if rng.random() < 0.5 else [f"{rng.choice(KEYS)} = {rng.choice(VALUES)}"]
        elif kind == 5:
            del parts[at]
        else:
            parts.insert(rng.randrange(len(parts) + 1), parts[at])
        if not parts:
            parts = [""]
    whole = "\n".join(parts).encode("utf-8", "surrogatepass")
    return octets.mutate(rng, whole) if rng.random() < 0.1 else whole
