"""timm: `timm:NAME`, convolutional networks of the PyTorch Image Models library, with weights from a file.

The library needs torchvision, which does not run beside the CPU build of PyTorch that this package is tested with: what is
here was tested with a stand-in that has timm's `create_model` and a model's `pretrained_cfg`.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from underpaint.errors import UnderpaintError, first_line
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.sources import exported
from underpaint.networks.sources.beside import Beside, Preprocess
from underpaint.networks.specification import Opening, Source, Specification, WeightsFile

if TYPE_CHECKING:
    from underpaint.networks.base import Network

PREFIX = "timm"
COST = 1.5
HOST = "https://huggingface.co/timm"


@lru_cache(16)
def source(rest: str) -> Specification:
    """The specification of a model of timm. Its graph is that of torch.export.

    Raises:
        UnderpaintError: timm cannot be imported, has no such model, or it has no usable layers.
    """
    name, model = f"{PREFIX}:{rest}", _model(rest)
    with TemporaryDirectory() as folder:
        program = exported.export(model, Path(folder) / "model.pt2", name)
        own = Beside(told=f"{rest} (timm)", preprocess=_preprocess(model))
        told, _ = exported.describe(program, own, name, Path(name))
    file = WeightsFile(name, f"{rest}.safetensors", f"{HOST}/{rest}/resolve/main/model.safetensors", None, _megabytes(model))
    return Specification(told, file, partial(_open, rest, told), COST)


def _model(name: str) -> Any:
    """With random weights.

    Raises:
        UnderpaintError: timm cannot be imported here, or has no such model.
    """
    try:
        import timm
    except Exception as error:  # torchvision raises RuntimeError where it does not fit PyTorch
        raise UnderpaintError(f"network: timm cannot be imported here ({first_line(error)}); it needs torchvision") from None
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, global_pool="").eval()
    except Exception as error:  # whatever timm raises
        raise UnderpaintError(f"network: timm:{name}: timm cannot make it ({first_line(error)})") from None


def _megabytes(model: Any) -> int:
    return round(sum(int(p.numel()) for p in model.parameters()) * 4 / 1e6)


def _preprocess(model: Any) -> Preprocess:
    told = model.pretrained_cfg
    return Preprocess.model_validate({part: tuple(255 * float(v) for v in told[part]) for part in ("mean", "std")})


def _open(name: str, told: Anatomy, opening: Opening, path: Path) -> Network:
    from underpaint.networks import weights
    from underpaint.networks.sources.program_network import ProgramNetwork

    model = _model(name)
    wanted = list(model.state_dict())
    found = weights.read_tensors(path, wanted)
    try:
        model.load_state_dict({key: found[key].to(value.dtype) for key, value in model.state_dict().items()})
    except RuntimeError as error:
        raise UnderpaintError(f"weights {path}: are not those of timm:{name} ({first_line(error)})") from None
    with TemporaryDirectory() as folder:
        program = exported.export(model, Path(folder) / "model.pt2", f"{PREFIX}:{name}")
        own = Beside(preprocess=_preprocess(model))
        _, names = exported.describe(program, own, told.name, Path(told.name))
        assert own.preprocess is not None
        steps = {layer: names[layer] for layer in opening.layers}
        return ProgramNetwork.opened(told, steps, own.preprocess, opening, program)


SOURCE = Source(source)
