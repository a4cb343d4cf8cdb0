"""A network of one's own: a program that torch.export saved, `FILE.pt2`, with a TOML beside it
(`networks.sources.beside`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from underpaint.errors import UnderpaintError, first_line
from underpaint.networks.anatomy import Anatomy
from underpaint.networks.sources import beside, graph, taps
from underpaint.networks.sources.beside import Beside, Preprocess
from underpaint.networks.specification import Opening, Specification
from underpaint.storage.files import named, write_bytes

if TYPE_CHECKING:
    from torch import nn

    from underpaint.networks.base import Network

COST = 1.5


def register(
    module: nn.Module,
    path: str | Path,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    channels: Literal["RGB", "BGR"] = "RGB",
    told: str = "",
    licence: str = "",
    layers: Mapping[str, str] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> str:
    """Makes a PyTorch module a network that paints, judges and is explained: exports it to a file, with a TOML beside it.

    >>> name = underpaint.register(net, "mine.pt2", mean=[124, 116, 104], std=[58, 57, 57])  # doctest: +SKIP
    >>> underpaint.stylize("photo.jpg", "painting.jpg", network=name)  # doctest: +SKIP

    Args:
        module: takes (1, 3, H, W) of any size; put into evaluation mode.
        path: a new file, `.pt2`.
        mean, std: what it wants taken off values of 0 to 255, and divided by, in the order of `channels`.
        told: its name for people.
        licence: of its weights.
        layers: a recipe's names of layers, shallow to deep, with the paths of their submodules; chosen by stride and depth
            when left out.
        recipe: fields of a recipe that it paints best with.

    Returns:
        The network's name: the file's path.

    Raises:
        UnderpaintError: the file is there already, torch.export cannot follow the module, or it has no usable layers.
    """
    path = named(path, "path")
    if path.suffix != ".pt2" or path.exists() or path.with_suffix(".toml").exists():
        raise UnderpaintError(f"{path}: name a new file that ends in .pt2; nothing is overwritten")
    own = Beside(
        told=told,
        licence=licence,
        preprocess=Preprocess.model_validate({"channels": channels, "mean": tuple(mean), "std": tuple(std)}),
        layers=dict(layers or {}),
        recipe=dict(recipe or {}),
    )
    try:
        export(module.eval(), path, str(path))
        write_bytes(path.with_suffix(".toml"), beside.text(own).encode())
        file(path)
    except BaseException:
        path.unlink(missing_ok=True)
        path.with_suffix(".toml").unlink(missing_ok=True)
        raise
    return str(path)


def export(module: nn.Module, path: Path, name: str) -> Path:
    """Writes a module's program for pictures of any size.

    Raises:
        UnderpaintError: torch.export cannot follow it.
    """
    import torch

    dynamic = torch.export.Dim.DYNAMIC
    try:
        example = torch.rand(1, 3, 224, 160, device=next((p.device for p in module.parameters()), None))
        with torch.no_grad():
            program = torch.export.export(module, (example,), dynamic_shapes=({2: dynamic, 3: dynamic},))
        torch.export.save(program, path)
    except Exception as error:  # whatever torch.export raises
        raise UnderpaintError(f"network: {name}: torch.export cannot follow it ({first_line(error)})") from None
    return path


def file(path: Path) -> Specification:
    """The specification of a program; it is remembered while its files stay as they are.

    Raises:
        UnderpaintError: it is missing, damaged or unsafe (`networks.sources.program`), has no usable layers, or its TOML is
            missing, or does not fit it.
    """
    return _file(path, beside.stamp(path, path.with_suffix(".toml")))


@lru_cache(16)
def _file(path: Path, _: object) -> Specification:
    read = beside.read(path)
    if read.path is None or read.beside.preprocess is None:
        wanted = f"{path.with_suffix('.toml').name} beside it, with mean and std of values from 0 to 255 under [preprocess]"
        raise UnderpaintError(f"network: {path}: how pictures go in is not known; put {wanted}")
    told, names = describe(path, read.beside, str(path), path.with_suffix(".toml"))
    opener = partial(_open, told, names, read.beside.preprocess)
    return Specification(told, path, opener, COST, read.beside.licence, (read.path,))


def describe(path: Path, own: Beside, name: str, where: Path) -> tuple[Anatomy, dict[str, str]]:
    """A program's anatomy, and the step in its graph that gives each layer.

    Args:
        path: the program's.
        own: what stands beside it, in the file `where`.

    Raises:
        UnderpaintError: see `file`.
    """
    from underpaint.networks.sources import program_graph
    from underpaint.networks.sources.program import Program

    opened = Program(path)
    found, places = _taps(program_graph.nodes(opened), program_graph.ends(opened), own, where)
    told = taps.describe(name, own.told or path.stem, found, own.recipe)
    return told, {layer: opened.steps[place].name for layer, place in places.items()}


def _taps(
    steps: Sequence[graph.Node], ends: Mapping[str, str], own: Beside, where: Path
) -> tuple[list[taps.Tap], dict[str, int]]:
    """Those that the TOML names, by modules or steps, or all; and their places among the steps."""
    found = graph.taps(steps)
    if not own.layers:
        return list(found.values()), {tap.name: place for place, tap in found.items()}
    by_step = {node.step: node for node in steps if node.shape is not None}
    by_name = by_step | {module: by_step[step] for module, step in ends.items() if step in by_step}
    chosen, places = list[taps.Tap](), dict[str, int]()
    for name, place in own.layers.items():
        node = by_name.get(place)
        if node is None or node.shape is None:
            near = get_close_matches(place, by_name, 3, 0.3)
            raise UnderpaintError(f"{where}: layers: {place!r} is no feature map; near: {', '.join(near)}")
        chosen.append(taps.Tap(name, graph.stride(node), node.shape[2], node.place not in found or found[node.place].ends))
        places[name] = node.place
    return chosen, places


def _open(told: Anatomy, names: Mapping[str, str], preprocess: Preprocess, opening: Opening, path: Path) -> Network:
    from underpaint.networks.sources.program_network import ProgramNetwork

    return ProgramNetwork.opened(told, {layer: names[layer] for layer in opening.layers}, preprocess, opening, path)
