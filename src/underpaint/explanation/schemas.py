"""Schemas: what ablation.json, explain.json and validation.json must be like."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from underpaint.explanation.validation import Checks, Faithfulness, State
from underpaint.runs.schemas import Made
from underpaint.storage.schemas import Count, Exact, Known, Name, like


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
    others: list[Name] = Field(default_factory=list)


class ColumnsPart(Known):
    """`underpaint.explanation.account.column_stats.figures`."""

    cosines_smoothed_2px: dict[Name, list[float]]

    @model_validator(mode="after")
    def _square(self) -> ColumnsPart:
        rows = self.cosines_smoothed_2px.values()
        if any(len(row) != len(rows) for row in rows):
            raise ValueError("cosines_smoothed_2px: is not square")
        return self


class RobustPart(Exact):
    """`underpaint.explanation.robustness.Robust`."""

    judges: list[Name]
    agreed: list[Annotated[list[Name], Field(min_length=2, max_length=2)]]
    disputed: list[Annotated[list[Name], Field(min_length=2, max_length=2)]]


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
    checks: Annotated[dict[Name, Any], AfterValidator(like(Checks, columns_are_bookkeeping=bool))]
    faithfulness: dict[Name, Annotated[dict[Name, Any], AfterValidator(like(Faithfulness))]]
    columns: ColumnsPart
    sanity: dict[Name, dict[Name, float | None]]
    verdict: list[Name]
    robust: RobustPart | None = None
    likes: dict[Name, list[Count]] = Field(default_factory=dict)
