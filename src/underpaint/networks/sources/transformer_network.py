"""A vision transformer as a network: tokens as feature maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from logging import ERROR
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from underpaint.errors import UnderpaintError, first_line
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.autograd import AutogradNetwork
from underpaint.networks.sources.beside import Preprocess
from underpaint.networks.sources.transformers import EXTRA, MODELS, Shape
from underpaint.networks.specification import Opening

KEYS = ("k_proj", "key")
POSITIONS = ("position_embeddings", "position_embedding.weight")


def opened(told: Anatomy, shape: Shape, preprocess: Preprocess, opening: Opening, path: Path) -> AutogradNetwork:
    """The network of a folder.

    Raises:
        UnderpaintError: the library is not installed, or the weights are not this model's, or damaged.
    """
    model = _load(shape, path.parent)
    embeddings = model.get_submodule("embeddings")
    projection = _projection(embeddings)
    projection.stride = (shape.step, shape.step)
    places = _places(model, embeddings, projection, opening.layers)
    # The library's own counts patches that lie side by side.
    resampled = partial(_positions, shape, _table(embeddings))
    object.__setattr__(embeddings, "interpolate_pos_encoding", resampled)
    whole = _Resampling(model, shape)
    wanted = {layer: f"model.{place}" for layer, place in places.items()}
    return AutogradNetwork(
        whole, wanted, _Padded(preprocess, shape), told, opening.device, opening.precision, partial(_map, shape)
    )


class _Resampling(nn.Module):
    """The model, whose positions are resampled to the picture's size."""

    def __init__(self, model: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.model, self._asked = model, {} if "dinov2" in shape.kind else {"interpolate_pos_encoding": True}

    def forward(self, x: torch.Tensor) -> object:
        """(N, 3, H, W), preprocessed."""
        return self.model(x, **self._asked)


def _load(shape: Shape, folder: Path) -> nn.Module:
    try:
        import transformers
    except ImportError:
        raise UnderpaintError(f"network: the transformers library is not installed; {EXTRA}") from None
    kind = getattr(transformers, MODELS[shape.kind])
    extra = {"add_pooling_layer": False} if shape.kind == "vit" else {}
    level, bar = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    logging = transformers.logging
    logging.set_verbosity(ERROR)  # that the classifier's head is left out is no news
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, info = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **extra,
        )
    except Exception as error:  # whatever the library raises at what it cannot read
        raise UnderpaintError(f"network: {folder}: cannot be loaded ({first_line(error)})") from None
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    wrong = [*info["missing_keys"], *info["mismatched_keys"]]
    if wrong:
        raise UnderpaintError(f"network: {folder}: its weights have no {wrong[0]}; are they another model's?")
    found: nn.Module = model
    if not all(bool(torch.isfinite(p).all()) for p in found.parameters()):
        raise UnderpaintError(f"network: {folder}: its weights hold values that are not finite; fetch the model again")
    return found


def _projection(embeddings: nn.Module) -> nn.Conv2d:
    """The convolution that makes patches tokens."""
    return next(module for module in embeddings.modules() if isinstance(module, nn.Conv2d))


def _table(embeddings: nn.Module) -> torch.Tensor:
    """The learnt positions, (1, 1 + n, C)."""
    parameters = dict(embeddings.named_parameters())
    found = next(parameters[name] for name in POSITIONS if name in parameters)
    return found.detach() if found.ndim == 3 else found.detach()[None]


def _positions(shape: Shape, table: torch.Tensor, embeddings: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Positions for a picture's patches, (1, 1 + h·w, C): bicubic between the learnt ones, as the library does."""
    rows, columns = ((side - shape.patch) // shape.step + 1 for side in (height, width))
    learnt = math.isqrt(table.shape[1] - 1)
    table = table.to(embeddings)
    if (rows, columns) == (learnt, learnt):
        return table
    square = table[:, 1:].float().view(1, learnt, learnt, -1).permute(0, 3, 1, 2)
    smooth = shape.kind == "dinov2_with_registers"  # as the library has it
    found = F.interpolate(square, size=(rows, columns), mode="bicubic", align_corners=False, antialias=smooth).to(embeddings)
    return torch.cat([table[:, :1], found.flatten(2).transpose(1, 2)], 1)


def _places(model: nn.Module, embeddings: nn.Module, projection: nn.Module, layers: tuple[str, ...]) -> Mapping[str, str]:
    """Each layer's submodule."""
    names = {id(module): name for name, module in model.named_modules()}
    blocks = max((m for m in model.modules() if isinstance(m, nn.ModuleList)), key=len)
    found: dict[str, str] = {}
    for layer in layers:
        if layer == "patches":
            found[layer] = names[id(projection)]
            continue
        block, _, kind = layer.removeprefix("block").partition(".")
        module = blocks[int(block) - 1]
        if kind:
            module = next(inner for name, inner in module.named_modules() if name.rpartition(".")[2] in KEYS)
        found[layer] = names[id(module)]
    return found


class _Padded:
    """Preprocessing; a picture's last rows and columns are repeated until whole patches cover it."""

    def __init__(self, preprocess: Preprocess, shape: Shape) -> None:
        self._preprocess, self._shape = preprocess, shape

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Of (N, 3, H, W), sRGB, 0..1."""
        down, right = (
            max(self._shape.patch - side, -(side - self._shape.patch) % self._shape.step) for side in image.shape[2:]
        )
        return F.pad(self._preprocess(image), (0, right, 0, down), mode="replicate")


def _map(shape: Shape, layer: str, output: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    """Tokens (N, extra + h·w, C) where their patches lie, (N, C, h, w)."""
    if layer == "patches":
        return output
    rows, columns = ((side - shape.patch) // shape.step + 1 for side in shown.shape[2:])
    tokens = output[:, shape.extra :]
    if layer.endswith(".similarity"):
        unit = F.normalize(tokens, dim=2)
        tokens = unit @ unit.transpose(1, 2)
    return tokens.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
