"""Schemas: what the fields of a JSON file may be. What a file must be like stands beside what reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

Name = Annotated[str, Field(max_length=10_000)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Side = Annotated[int, Field(ge=1, le=10**6)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

Figures = dict[Name, float]


class Exact(BaseModel):
    """Known fields of their own type and no others: a field whose name was damaged is not one that is missing."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Known(BaseModel):
    """Known fields of their own type; others too."""

    model_config = ConfigDict(extra="allow", strict=True)


def like(kind: type, **more: type) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A validator of the fields of a dataclass, each of its own type, and others too; it gives back what it was given.

    Args:
        more: further fields that it has to have, with their types.

    Raises:
        pydantic.ValidationError: from the validator: a field is missing or of another type.
    """
    hints = get_type_hints(kind)
    own: dict[str, Any] = {field.name: (hints[field.name], ...) for field in fields(kind)}
    own |= {name: (of, ...) for name, of in more.items()}
    model = create_model(kind.__name__, __base__=Known, **own)

    def check(given: dict[str, Any]) -> dict[str, Any]:
        model.model_validate(given)
        return given

    return check
