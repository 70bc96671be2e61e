"""Writes docs/api.md: the public names, their signatures and docstrings, as they stand in the code.

    python docs/make_api_reference.py            writes docs/api.md
    python docs/make_api_reference.py --check    leaves with 1 where docs/api.md is not what this would write

Knows Python's own introspection. Does not know what any name is for: the docstrings say it.
"""

import dataclasses
import enum
import inspect
import sys
from pathlib import Path
from typing import Any

import diffad_edge

PAGE = Path(__file__).with_name("api.md")
GROUPS = {
    "Judging": ["Inspector", "Result", "Verdict", "ErrorCode", "Defect", "RegionScore", "Frame"],
    "Cameras": ["open_source", "Limits"],
    "Triggered parts": ["Station"],
    "Recipes": ["load_recipe", "Recipe", "RecipeBook"],
    "Bundles": ["open_bundle", "Bundle"],
    "Engines": ["OnDevice", "Watcher"],
    "Errors": [
        "DiffadError", "EngineError", "MissingExtraError", "GateError", "InputError", "ImageError", "DataError",
        "BundleError", "RecipeError", "SourceError",
    ],
}  # fmt: skip


def page() -> str:
    """The whole page, Markdown."""
    names = [name for group in GROUPS.values() for name in group]
    left_out = set(diffad_edge.__all__) - {*names, "__version__"}
    if left_out or len(set(names)) != len(names):
        sys.exit(
            f"these public names have no place in {Path(__file__).name}: {sorted(left_out) or 'one is there twice'}"
        )
    parts = [
        "# API",
        "Everything that `from diffad_edge import ...` gives. Written by `python docs/make_api_reference.py` from the "
        "docstrings.",
    ]
    for title, group in GROUPS.items():
        parts += [f"## {title}", *(entry(name, getattr(diffad_edge, name)) for name in group)]
    return "\n\n".join(parts) + "\n"


def entry(name: str, thing: Any) -> str:
    """One public name with its public methods."""
    parts = [f"### {name}", _code(name, thing), _doc(thing)]
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        if issubclass(thing, enum.Enum):
            parts.append("Values: " + ", ".join(f"`{member.name}` ({member.value!r})" for member in thing) + ".")
        for own, member in vars(thing).items():
            wrapped = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if own.startswith("_") or not (inspect.isfunction(wrapped) or isinstance(wrapped, property)):
                continue
            heading = f"#### {name}.{own}"
            parts += [heading, *([] if isinstance(wrapped, property) else [_code(own, wrapped)]), _doc(wrapped)]
    return "\n\n".join(part for part in parts if part)


def _code(name: str, thing: Any) -> str:
    if inspect.isclass(thing) and (issubclass(thing, enum.Enum | Exception) or not (signature := _signature(thing))):
        return ""
    signature = _signature(thing)
    prefix = "async def " if inspect.iscoroutinefunction(thing) else "" if inspect.isclass(thing) else "def "
    return f"```python\n{prefix}{name}{signature}\n```"


def _signature(thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return ""
    parameters = [each for each in signature.parameters.values() if each.name not in {"self", "cls"}]
    shown = [str(_plain(each)).replace("'", '"') for each in parameters]
    for place, each in enumerate(parameters):
        if each.kind is each.KEYWORD_ONLY:
            shown.insert(place, "*")
            break
    returned = signature.return_annotation
    arrow = "" if inspect.isclass(thing) or returned is inspect.Signature.empty else f" -> {_name(returned)}"
    line = f"({', '.join(shown)}){arrow}"
    return line if len(line) < 100 else "(\n    " + ",\n    ".join(shown) + f",\n){arrow}"


def _plain(parameter: inspect.Parameter) -> str:
    words = parameter.name
    if parameter.annotation is not inspect.Parameter.empty:
        words += f": {_name(parameter.annotation)}"
    if parameter.default is not inspect.Parameter.empty:
        factory = type(parameter.default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS"
        words += " = " + ("..." if factory or _long(parameter.default) else repr(parameter.default))
    return words


def _long(default: Any) -> bool:
    return callable(default) or dataclasses.is_dataclass(default)


def _name(annotation: Any) -> str:
    """An annotation as a reader says it, without modules."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = text.replace("ndarray[tuple[typing.Any, ...], ", "ndarray[")
    for module in (
        "diffad_runtime.",
        "numpy.",
        "collections.abc.",
        "concurrent.futures._base.",
        "pathlib.",
        "threading.",
    ):
        while module in text:
            start = text.index(module)
            end = start + len(module)
            while (
                "." in (tail := text[end:].split("[")[0].split(",")[0].split(" ")[0].split("]")[0])
                and tail[0].islower()
            ):
                end += tail.index(".") + 1
            text = text[:start] + text[end:]
    return text


def _doc(thing: Any) -> str:
    if inspect.isclass(thing) and thing.__doc__ is None:
        return ""
    blocks: list[str] = []
    for block in (inspect.getdoc(thing) or "").split("\n\n"):
        first, _, rest = block.partition("\n")
        if first.endswith(":") and rest and all(line.startswith("    ") for line in rest.splitlines()):
            blocks.append(f"{first}\n\n" + _list(rest))
        elif all(line.startswith("    ") for line in block.splitlines()):
            blocks.append(f"```text\n{inspect.cleandoc(block)}\n```")
        else:
            blocks.append(block)
    return "\n\n".join(blocks)


def _list(lines: str) -> str:
    """ "    name: words" and what goes on deeper below it, as a Markdown list."""
    items: list[str] = []
    for line in lines.splitlines():
        if line.startswith("     ") and items:
            items[-1] += " " + line.strip()
            continue
        name, colon, words = line.strip().partition(": ")
        items.append(f"- `{name}`: {words}" if colon else f"- {line.strip()}")
    return "\n".join(items)


def main() -> None:
    made = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
            sys.exit("docs/api.md is not what the code says: run python docs/make_api_reference.py")
        return
    PAGE.write_text(made, encoding="utf-8")
    print(f"{PAGE}: {len(diffad_edge.__all__)} names")


if __name__ == "__main__":
    main()
