"""Pretrained weights: found on disk, or fetched and verified; loaded from formats that cannot carry code."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
import torch

from underpaint.errors import UnderpaintError
from underpaint.networks.specification import WeightsFile
from underpaint.storage.files import SHARED, spelt

Progress = Callable[[int, int | None], None]
VARIABLE, CACHE_VARIABLE = "UNDERPAINT_WEIGHTS", "UNDERPAINT_CACHE"


@dataclass(frozen=True)
class LocalFile:
    """A file that is used where it is found and never fetched: no publisher has the whole of it under one address."""

    filename: str
    aliases: tuple[str, ...] = ()


# torchvision publishes the backbone and Zhang et al. the heads, each as a pickle.
LPIPS = LocalFile("lpips_squeeze.safetensors")


@dataclass(frozen=True)
class Located:
    """Where a weights file is, and which of the places looked in had it."""

    path: Path
    source: Literal["given", "environment", "cache", "download"]


def cache_folder() -> Path:
    """The user's cache folder: the one that `$UNDERPAINT_CACHE` names, else as the operating system has it."""
    import pooch

    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("underpaint"))


def find(
    file: WeightsFile | LocalFile,
    given: Path | None = None,
    cache: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Located | None:
    """Looks in this order: `given` (a file or a folder), `$UNDERPAINT_WEIGHTS` (a folder), the cache, another program's
    cache. Contacts no host.

    Raises:
        UnderpaintError: `given` or the environment's folder does not exist, or `given` does not hold the file.
    """
    environ = os.environ if environ is None else environ
    if given is not None:
        if given.is_file():
            return Located(given, "given")
        if not given.is_dir():
            raise UnderpaintError(f"--weights {given}: no such file or folder; name one that holds {file.filename}")
        if (path := _in_folder(file, given)) is None:
            raise UnderpaintError(f"--weights {given}: holds none of {', '.join((file.filename, *file.aliases))}")
        return Located(path, "given")
    if folder := environ.get(VARIABLE):
        if not Path(folder).is_dir():
            raise UnderpaintError(f"${VARIABLE}: {folder} is not a folder; correct the variable or unset it")
        if path := _in_folder(file, Path(folder)):
            return Located(path, "environment")
    elsewhere = file.elsewhere if isinstance(file, WeightsFile) else None
    for place in (cache or cache_folder(), elsewhere):
        if place is not None and (path := _in_folder(file, place)):
            return Located(path, "cache")
    return None


def _in_folder(file: WeightsFile | LocalFile, folder: Path) -> Path | None:
    names = (file.filename, *file.aliases)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def locate(
    file: WeightsFile,
    given: Path | None = None,
    *,
    announce: Callable[[str], None] | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Located:
    """`find`, and else `fetch`, which `announce` is told of first.

    Raises:
        UnderpaintError: see `find` and `fetch`.
    """
    found = find(file, given, cache, environ)
    if found is not None:
        return found
    if announce is not None:
        host = urlsplit(file.url).netloc
        unproved = "" if file.checksum else "; its publisher states no hash to prove it by"
        told = f"Downloading {file.network}'s weights ({file.megabytes} MB) from {host} to {cache or cache_folder()}"
        announce(told + unproved)
    return fetch(file, cache, progress)


def fetch(file: WeightsFile, cache: Path | None = None, progress: Progress | None = None, timeout: float = 30) -> Located:
    """Downloads into the cache folder; the file appears there only when it is whole and its hash is right.

    Args:
        progress: told the bytes so far and the bytes in all, where the server says.
        timeout: seconds without an answer.

    Raises:
        UnderpaintError: the host does not answer or has no such file, the connection is cut, the hash is wrong, the
            folder cannot be written or is full. Nothing is left behind, and an older file stays.
    """
    import requests

    folder = cache or cache_folder()
    instead = f"get {file.url} by other means and put it into a folder that ${VARIABLE} names"
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".download-", dir=folder)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as out, requests.get(file.url, stream=True, timeout=timeout) as answer:
            answer.raise_for_status()
            _receive(answer.iter_content(1 << 20), answer.headers.get("Content-Length"), out.write, progress)
            out.flush()
            os.fsync(out.fileno())
        kind = "md5" if file.checksum is None or len(file.checksum) == 32 else "sha256"
        if file.checksum is not None and _hash(temporary, kind) != file.checksum:
            told = f"its {'MD5' if kind == 'md5' else 'SHA-256'} is not {file.checksum}"
            raise UnderpaintError(f"{file.url}: arrived damaged ({told}); try again, or {instead}")
        temporary.chmod(SHARED)
        os.replace(temporary, folder / file.filename)
        temporary = None
    except requests.RequestException as error:
        # requests' errors are OSErrors too, so they come first.
        raise UnderpaintError(f"{file.url}: cannot be downloaded ({_short(error)}); try again, or {instead}") from None
    except OSError as error:
        raise UnderpaintError(f"{folder}: cannot be written ({error.strerror}); free it, or {instead}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return Located(folder / file.filename, "download")


def _receive(
    chunks: Iterable[bytes], length: str | None, write: Callable[[bytes], object], progress: Progress | None
) -> None:
    total = int(length) if length and length.isdigit() else None
    done = 0
    for chunk in chunks:
        write(chunk)
        done += len(chunk)
        if progress is not None:
            progress(done, total)


def _short(error: Exception) -> str:
    """The reason alone: requests wraps it in addresses and object names."""
    text = str(error)
    known = {"refused": "connection refused", "Name or service": "no such host, or no internet connection"}
    known |= {"name resolution": "no internet connection", "timed out": "no answer in time"}
    known |= {"IncompleteRead": "the connection was cut", "Connection broken": "the connection was cut"}
    return next((plain for sign, plain in known.items() if sign in text), text.split(" for url")[0][:120])


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def sha256(path: Path, *others: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; of several, of their hashes one after the other."""
    first = _hash(path, "sha256")
    if not others:
        return first
    return hashlib.sha256("".join((first, *(_hash(other, "sha256") for other in others))).encode()).hexdigest()


def load(path: Path, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Weights of the named layers (`block1_conv1` …, each fed by the one before), nothing else of the file is read.

    Reads safetensors with `block1_conv1.weight` (O, I, 3, 3) and `.bias` (O,), and Keras' HDF5 with a group for each layer
    that holds a kernel (3, 3, I, O) and a bias (O,), whatever they are called inside.

    Returns:
        `block1_conv1.weight` (O, I, 3, 3) and `block1_conv1.bias` (O,), float32.

    Raises:
        UnderpaintError: another format (pickles are refused unread), damaged, a layer missing or of a wrong shape,
            values that are not finite.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise UnderpaintError(f"weights {path}: {error.strerror}") from None
    if head.startswith(b"\x89HDF"):
        reader = _read_hdf5
    elif head[8:] == b"{":
        reader = _read_safetensors
    elif head.startswith((b"PK", b"\x80")):
        raise UnderpaintError(
            f"weights {path}: a pickle or archive can carry code and is not opened; convert it to safetensors"
        )
    else:
        raise UnderpaintError(f"weights {path}: neither HDF5 nor safetensors; use the file that Keras publishes")
    tensors = reader(path, layers)
    channels = 3
    for layer in layers:
        channels = _check(path, layer, tensors[layer + ".weight"], tensors[layer + ".bias"], channels)
    return tensors


def _read_safetensors(path: Path, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    return read_tensors(path, [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")])


def read_tensors(path: Path, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The named tensors of a safetensors file as float32; nothing else of the file is read.

    Raises:
        UnderpaintError: not safetensors, damaged, or a tensor missing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with spelt(path) as plain, safe_open(plain, "pt") as file:
            if missing := sorted(set(names) - set(file.keys())):
                raise UnderpaintError(f"weights {path}: has no {missing[0]}; is it another network's?")
            return {name: file.get_tensor(name).float() for name in names}
    except (SafetensorError, OSError) as error:
        raise UnderpaintError(f"weights {path}: damaged ({error}); fetch it again") from None


def names_in(path: Path) -> set[str]:
    """The tensors' names of a safetensors file.

    Raises:
        UnderpaintError: it is none, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with spelt(path) as plain, safe_open(plain, "pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise UnderpaintError(f"weights {path}: damaged ({error}); fetch it again") from None


def _read_hdf5(path: Path, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    import h5py

    tensors: dict[str, torch.Tensor] = {}
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            for layer in layers:
                if layer not in root:
                    raise UnderpaintError(f"weights {path}: has no layer {layer}; is it another network's?")
                arrays: list[np.ndarray] = []

                def collect(_: str, item: object, arrays: list[np.ndarray] = arrays) -> None:
                    if isinstance(item, h5py.Dataset):
                        arrays.append(np.asarray(item[()], dtype=np.float32))

                root[layer].visititems(collect)
                by_dimensions = {array.ndim: array for array in arrays}
                if len(arrays) != 2 or set(by_dimensions) != {1, 4}:
                    raise UnderpaintError(f"weights {path}: {layer} does not hold one kernel and one bias")
                # TensorFlow correlates as torch does: only the order of the axes differs.
                kernel = by_dimensions[4].transpose(3, 2, 0, 1)
                tensors[layer + ".weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
                tensors[layer + ".bias"] = torch.from_numpy(by_dimensions[1])
    except (OSError, KeyError, RuntimeError) as error:
        raise UnderpaintError(f"weights {path}: damaged ({error}); fetch it again") from None
    return tensors


def _check(path: Path, layer: str, weight: torch.Tensor, bias: torch.Tensor, channels: int) -> int:
    """How many channels the layer gives, having taken `channels`."""
    if weight.ndim != 4 or weight.shape[1:] != (channels, 3, 3) or bias.shape != weight.shape[:1]:
        shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        raise UnderpaintError(f"weights {path}: {layer} has shapes {shapes}, not (O, {channels}, 3, 3) and (O,)")
    if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        raise UnderpaintError(f"weights {path}: {layer} holds values that are not finite; fetch the file again")
    return weight.shape[0]
