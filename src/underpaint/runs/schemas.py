"""Schemas: what run.json must be like, and what ablation.json shares with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from underpaint.storage.schemas import Count, Exact, Figures, Hash, Known, Name, Side

FORMAT = 2
"""Of run.json."""

Role = Annotated[str, Field(pattern=r"^(content|style[1-9][0-9]{0,3}|content_mask|style_mask|start|protect)$")]
File = Annotated[str, Field(pattern=r"^inputs/[^/\\\x00]+$", max_length=300)]
"""A picture within the folder, never a path that leads out of it."""


class Input(Known):
    """A picture that a folder keeps."""

    role: Role
    name: Name
    file: File
    sha256: Hash
    width: Side
    height: Side


class Network(Known):
    """What painted."""

    name: Name
    weights: Name
    path: Name
    sha256: Hash


class Versions(Known):
    """Of the libraries."""

    underpaint: Name
    torch: Name


class Environment(Known):
    """Where it ran."""

    device: Name
    device_name: Name
    threads: Side
    versions: Versions


class Extent(Exact):
    """A picture's size, pixels."""

    width: Side
    height: Side


class Made(Exact):
    """What run.json and ablation.json share."""

    recipe: dict[Name, Any]
    inputs: Annotated[list[Input], Field(min_length=2, max_length=1000)]
    networks: Annotated[list[Network], Field(min_length=1, max_length=2)]
    environment: Environment
    cores: dict[Name, Any] | None = None

    @model_validator(mode="after")
    def _roles(self) -> Made:
        roles = [each.role for each in self.inputs]
        if len(set(roles)) < len(roles) or not {"content", "style1"} <= set(roles):
            raise ValueError("inputs: need one content and one style1")
        return self


class RunFile(Made):
    """run.json."""

    format: int
    status: Literal["running", "stopped", "finished"]
    recipe_sha256: Hash
    frames: Count
    deterministic: bool
    notes: list[Name]
    precision: dict[Name, Any] | None = None
    steps: Count | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None
    peak_memory_bytes: dict[Name, Count] | None = None
    pastiche: Extent | None = None
    losses: Figures | None = None

    @model_validator(mode="before")
    @classmethod
    def _version(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if fields.get("format") != FORMAT:
            raise ValueError("not a run of this version of underpaint")
        return fields

    @model_validator(mode="after")
    def _end(self) -> RunFile:
        if self.status == "finished" and None in (self.steps, self.seconds, self.pastiche, self.losses):
            raise ValueError("finished: needs steps, seconds, pastiche and losses")
        return self
