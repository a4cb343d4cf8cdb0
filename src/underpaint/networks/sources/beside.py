"""What stands beside a network's file: a TOML of the same name that says how pictures go in, and which layers there are.

told = "EfficientNet-Lite0"

[preprocess]
channels = "RGB"          # or "BGR"
mean = [127, 127, 127]    # what is taken off values of 0 to 255, ...
std = [128, 128, 128]     # ... which are divided by this

[layers]                  # a recipe's names of layers, shallow to deep: where the network has them
stem = "stem"
block0 = "blocks.0"

[recipe]                  # what it paints best with: any fields of a recipe
enlarge = 2.0
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from underpaint.errors import UnderpaintError

if TYPE_CHECKING:
    import torch

Value = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Three = tuple[Value, Value, Value]


class Preprocess(BaseModel):
    """How a picture goes in: (255 · picture − mean) / std, each by channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Literal["RGB", "BGR"] = "RGB"
    mean: Three = (0.0, 0.0, 0.0)
    std: tuple[Deviation, Deviation, Deviation] = (255.0, 255.0, 255.0)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Of (N, 3, H, W), sRGB, 0..1. `mean` and `std` are in the order of `channels`."""
        import torch

        mean, std = (torch.tensor(v, dtype=image.dtype, device=image.device)[:, None, None] for v in (self.mean, self.std))
        if self.channels == "BGR":
            # Not flip(): L-BFGS of PyTorch, and others, fail on a gradient that is not contiguous.
            image = image[:, [2, 1, 0]]
        return (image * 255 - mean) / std


class Beside(BaseModel):
    """See the module's text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    told: str = ""
    licence: str = ""
    preprocess: Preprocess | None = None
    layers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_./]+$")], str] = {}
    recipe: dict[str, Any] = {}


def stamp(*paths: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells whether files are still the ones that were read: whoever remembers what they said keeps it beside."""
    found: list[tuple[str, int, int]] = []
    for path in paths:
        try:
            facts = path.stat()
        except OSError:
            continue
        found.append((str(path), facts.st_mtime_ns, facts.st_size))
    return tuple(found)


@dataclass(frozen=True)
class Read:
    """What was read, and where from: None where there is no such file."""

    beside: Beside
    path: Path | None


def read(network: Path) -> Read:
    """What stands beside a network's file.

    Raises:
        UnderpaintError: the network's file is missing, or what stands beside it is no TOML of these fields.
    """
    if not network.is_file():
        raise UnderpaintError(f"network: {network}: no such file; name one that torch.export or Keras saved")
    path = network.with_suffix(".toml")
    if not path.exists():
        return Read(Beside(), None)
    try:
        return Read(Beside.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))), path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnderpaintError(f"{path}: cannot be read as TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UnderpaintError(f"{path}: {place}: {first['msg']}; it has {', '.join(Beside.model_fields)}") from None


def text(own: Beside) -> str:
    """What stands beside a network, as its file has it: what `read` reads back."""
    told = own.model_dump(mode="json")
    lines = [f"{name} = {json.dumps(told[name], ensure_ascii=False)}" for name in ("told", "licence")]
    for table in ("preprocess", "layers", "recipe"):
        if told[table]:
            lines += ["", f"[{table}]", *(f"{json.dumps(name)} = {_value(value)}" for name, value in told[table].items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_value(part)}" for name, part in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
