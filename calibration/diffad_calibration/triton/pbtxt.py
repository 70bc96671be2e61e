"""Messages written as protobuf's text format, the form of Triton's config.pbtxt.

Knows fields, lists, nested messages and how text is quoted. Does not know which fields there are: a test holds what is
written against the published schema.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Union

_INDENT = "  "


class Word(str):
    """Written bare: an enumeration's value, as in TYPE_UINT8."""

    __slots__ = ()


Value = Union[str, int, Word, "Message", Sequence[int], Sequence["Message"]]
"""A field's value. A sequence is a repeated field: numbers on one line, messages one below the other."""

Message = Mapping[str, Value]


def text_of(message: Message) -> str:
    """The message as text, fields in the order given, ending with a newline."""
    return "".join(f"{line}\n" for line in _lines(message, ""))


def entries(pairs: Mapping[str, Value]) -> list[Message]:
    """A map field, which the text format spells as a list of `key` and `value`."""
    return [{"key": key, "value": value} for key, value in pairs.items()]


def _lines(message: Message, indent: str) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, Mapping):
            yield from _nested(name, value, indent)
        elif isinstance(value, (str, int)):
            yield f"{indent}{name}: {_plain(value)}"
        elif numbers := [one for one in value if isinstance(one, int)]:
            yield f"{indent}{name}: [{', '.join(str(number) for number in numbers)}]"
        else:
            for one in value:
                assert isinstance(one, Mapping)
                yield from _nested(name, one, indent)


def _nested(name: str, message: Message, indent: str) -> Iterator[str]:
    yield f"{indent}{name} {{"
    yield from _lines(message, indent + _INDENT)
    yield f"{indent}}}"


def _plain(value: str | int) -> str:
    return str(value) if isinstance(value, (Word, int)) else f'"{_escaped(value)}"'


def _escaped(text: str) -> str:
    """Printable ASCII as it is; other bytes of the UTF-8 as three octal digits, which any reader takes."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\{byte:03o}" for byte in text.encode("utf-8")
    )
