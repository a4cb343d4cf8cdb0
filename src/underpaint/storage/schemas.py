"""Schemas: what each JSON file of a folder must be like. A file that is not is damaged, or of another version."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT = 2
"""Of run.json."""

Name = Annotated[str, Field(max_length=10_000)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Side = Annotated[int, Field(ge=1, le=10**6)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Role = Annotated[str, Field(pattern=r"^(content|style[1-9][0-9]{0,3}|content_mask|style_mask|start|protect)$")]
File = Annotated[str, Field(pattern=r"^inputs/[^/\\\x00]+$", max_length=300)]
"""A picture within the folder, never a path that leads out of it."""

Figures = dict[Name, float]
State = Literal["settled", "not settled", "no effect", "worse"]


class Exact(BaseModel):
    """Known fields of their own type and no others: a field whose name was damaged is not one that is missing."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Known(BaseModel):
    """Known fields of their own type; others too."""

    model_config = ConfigDict(extra="allow", strict=True)


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


class AblationFile(Made):
    """ablation.json."""

    judge: Name
    configs: Annotated[dict[Name, list[Name]], Field(min_length=1)]


class SettingsFile(Exact):
    """explain.json."""

    seeds: Annotated[int, Field(ge=1, le=10_000)]
    judge: Name
    sanity: bool
    permutations: Annotated[int, Field(ge=4, le=100_000, multiple_of=2)] | None = None


class ChecksPart(Known):
    """`underpaint.explanation.validation.Checks`."""

    closure: float
    cross_residual: float
    path_residual: float
    kappa_half: float
    kappa: float
    fall: float
    fall_error: float | None
    content: float
    unsettled: Figures
    columns_are_bookkeeping: bool


class FaithfulnessPart(Known):
    """`underpaint.explanation.validation.Faithfulness`."""

    concordance: float | None
    pairs: Count
    deletion: float | None
    percentile: float | None
    left_out_agreement: float | None


class ColumnsPart(Known):
    """`underpaint.explanation.account.column_stats.figures`."""

    cosines_smoothed_2px: dict[Name, list[float]]

    @model_validator(mode="after")
    def _square(self) -> ColumnsPart:
        rows = self.cosines_smoothed_2px.values()
        if any(len(row) != len(rows) for row in rows):
            raise ValueError("cosines_smoothed_2px: is not square")
        return self


class ValidationFile(Exact):
    """validation.json; without `state` where an older version wrote it."""

    state: State | None = None
    players: Annotated[list[Name], Field(min_length=1)]
    judge_network: Name
    judge_layers: dict[Name, list[Name]]
    judges_see: dict[Name, Name]
    depths: dict[Name, list[Name]]
    groups: dict[Name, Any]
    J_none: float | None
    J_all: float | None
    tables: Count
    permutations: Count | None
    noise: dict[Name, Any]
    resolved_pairs: list[Annotated[list[Name], Field(min_length=2, max_length=2)]]
    deletion_curves: dict[Name, Annotated[list[float], Field(min_length=2)]]
    checks: ChecksPart
    faithfulness: dict[Name, FaithfulnessPart]
    columns: ColumnsPart
    sanity: dict[Name, dict[Name, float | None]]
    verdict: list[Name]
