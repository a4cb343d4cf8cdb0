"""Where a run computes, in which precision, and what must be the same for the same bytes to come out again."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import metadata
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from underpaint.errors import UnderpaintError

T = TypeVar("T")
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
CUDA_SETTINGS = {"tf32": False, "cudnn_benchmark": False}
"""What `ieee_float32` sees to. TF32 keeps 10 of float32's 23 bits of mantissa and is what PyTorch's convolutions use by
themselves. cuDNN's benchmark would choose algorithms by the clock, another one each time."""

PACKAGES = ("underpaint", "torch", "numpy", "pillow", "scikit-image")


def present() -> list[str]:
    """The kinds of device that this machine has, fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind, has in there.items() if has]


def choose(name: str | torch.device = "auto") -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; any other name is taken at its word.

    Raises:
        UnderpaintError: no such device on this machine.
    """
    here, name = present(), str(name)
    if name == "auto":
        return torch.device(here[0])
    if name.split(":")[0] not in here:
        raise UnderpaintError(f"device: {name!r} is not on this machine; it has {', '.join(here)}")
    try:
        return torch.device(name)
    except RuntimeError:
        raise UnderpaintError(f"device: {name!r} is not a device; use auto, cpu, cuda or mps") from None


def computes_bf16(device: torch.device) -> bool:
    """Whether it has bf16 at all, imitated at the least on a CPU. `underpaint.networks.precision` tries if that is faster."""
    able: dict[str, Callable[[], bool]] = {
        "cpu": torch.ops.mkldnn._is_mkldnn_bf16_supported,
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
    }
    return device.type in able and able[device.type]()


def precision(name: str, device: torch.device) -> torch.dtype:
    """The network's number format for "float32" or "bf16"; what "auto" stands for, `underpaint.networks.precision.choose`
    says.

    Raises:
        UnderpaintError: bf16 asked for where it would only be slower.
    """
    if name == "float32":
        return torch.float32
    if not computes_bf16(device):
        raise UnderpaintError(f"precision: bf16 is not supported by this {device.type}; use float32, or auto")
    return torch.bfloat16


def describe(device: torch.device) -> dict[str, Any]:
    """What the bytes of a result depend on besides recipe, pictures and weights."""
    facts = {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
    }
    if device.type == "cuda":
        facts |= CUDA_SETTINGS | {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    return facts


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Which of these facts changed, as "threads: 2, now 4"."""
    flat_before, flat_now = before | before["versions"], now | now["versions"]
    return [
        f"{key}: {flat_before.get(key)}, now {value}"
        for key, value in flat_now.items()
        if key not in ("versions", "platform", "python") and flat_before.get(key) != value
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> dict[str, int]:
    """Largest resident memory of this process, and of the GPU's allocations, in bytes."""
    peaks: dict[str, int] = {}
    try:
        import resource  # not on Windows
    except ImportError:
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peaks["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if device.type == "cuda":
        peaks["gpu"] = int(torch.cuda.max_memory_allocated(device))
    return peaks


@contextmanager
def ieee_float32(device: torch.device) -> Iterator[None]:
    """On CUDA, float32 as IEEE 754 has it in convolutions and matrix products (no TF32), and cuDNN's algorithms chosen by
    rule, not by the clock (`CUDA_SETTINGS`); the caller's own settings are put back afterwards. Elsewhere nothing to do.

    Networks see to it themselves; whole runs do for the sums around them.
    """
    if device.type != "cuda":
        yield
        return
    switches = [(torch.backends.cudnn, "benchmark", False), *_tf32_switches()]
    before = [getattr(owner, name) for owner, name, _ in switches]
    try:
        for owner, name, value in switches:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def _tf32_switches() -> list[tuple[Any, str, Any]]:
    """Owner, name and value that turn TF32 off: under the old names and, where PyTorch has them (2.9), the new ones.

    Reading the old names is an error once the new ones were set to something that they cannot say; then the new ones
    are enough. Otherwise both are set, so that whoever reads either in between finds them agree.
    """
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    old = [(cudnn, "allow_tf32", False), (products, "allow_tf32", False)]
    new = [(o, "fp32_precision", "ieee") for o in (cudnn.conv, cudnn.rnn, products)] if hasattr(cudnn, "conv") else []
    try:
        for owner, name, _ in old:
            getattr(owner, name)
    except RuntimeError:
        return new
    return [*old, *new]


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """PyTorch's deterministic algorithms, switched back afterwards.

    Raises:
        UnderpaintError: CUDA needs CUBLAS_WORKSPACE_CONFIG set before it starts, and it is not.
    """
    if not wanted:
        yield
        return
    if torch.cuda.is_available() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ:
        raise UnderpaintError(
            "--deterministic: CUDA needs the environment variable CUBLAS_WORKSPACE_CONFIG=:4096:8; set it and run again"
        )
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def own_settings() -> Iterator[None]:
    """What the caller has set for PyTorch and NumPy as a whole is as it is by default, and put back afterwards: autocast,
    modes of gradients, default type and device, the CPU's precision of float32, NumPy's errors. So no sum depends on who
    asks.

    Threads and deterministic algorithms stay as they are: they are the caller's to choose. There is no randomness here that
    is not drawn from a generator of its own.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if (before := torch.get_default_dtype()) != torch.float32:
            stack.callback(torch.set_default_dtype, before)
            torch.set_default_dtype(torch.float32)
        cpu: Any = torch.backends.mkldnn
        for owner in (cpu.conv, cpu.matmul) if hasattr(cpu, "conv") else ():  # from PyTorch 2.9 on
            stack.callback(setattr, owner, "fp32_precision", owner.fp32_precision)
            owner.fp32_precision = "ieee"
        yield


@contextmanager
def painting(device: torch.device, repeatable: bool = False) -> Iterator[None]:
    """The settings under which every step of a run is made, whoever asks.

    Args:
        repeatable: with PyTorch's deterministic algorithms.
    """
    with own_settings(), deterministic(repeatable), ieee_float32(device):
        yield


def stepwise(steps: Generator[T], around: Callable[[], AbstractContextManager[object]]) -> Generator[T]:
    """Goes through `steps`, each of them made inside `around()`; between two of them the caller's own settings hold, as they
    would not if a generator yielded in the middle of a `with`."""
    try:
        while True:
            with around():
                try:
                    step = next(steps)
                except StopIteration:
                    return
            yield step
    finally:
        with around():
            steps.close()
