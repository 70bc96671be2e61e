"""The parameters behind the '?' of a camera's URI, checked.

Knows how a wrong one is told. Does not know cameras; each has its own table of parameters.
"""

from typing import Any, ClassVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Self

from diffad_runtime.errors import SourceError


class Query(BaseModel):
    """A table of parameters. Frozen; unknown ones are refused. `what` names the URI in errors, as in "csi://"."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    what: ClassVar[str] = "?"

    @classmethod
    def parse(cls, query: str) -> Self:
        """From "name=value&name=value".

        Raises:
            SourceError: an unknown parameter, one given twice or missing, or a bad value; names what is allowed.
        """
        pairs = parse_qsl(query, keep_blank_values=True)
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError(f"{cls.what} parameter {twice[0]!r} is given twice", mend="Give it once")
        unknown = [name for name in names if name not in cls.model_fields]
        if unknown:
            raise SourceError(
                f"{cls.what} has no parameter {unknown[0]!r}", mend=f"Use some of {', '.join(cls.model_fields)}"
            )
        values: dict[str, Any] = dict(pairs)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            about = cls.model_fields[name].description if name in cls.model_fields else None
            got = f"{name}={values[name]!r}" if name in values else name
            mend = f"{name} is: {about}" if about else f"Use some of {', '.join(cls.model_fields)}"
            raise SourceError(f"{cls.what} parameter {got}: {first['msg']}", mend=mend) from error
