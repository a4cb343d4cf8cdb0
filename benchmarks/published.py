"""The real networks of the project's shared folder: as files that `--network` takes.

    python benchmarks/published.py FOLDER     # writes FOLDER/*.pt2 with its .toml, FOLDER/vit-tiny/

Each network is built as its publisher describes it (the file's own metadata), loaded, and exported: EfficientNet-Lite0,
MobileNetV2 (batch norms folded) and ResNet-50 v2 (stages 1 to 3) as networks of one's own (`torch.export`), ViT-Ti/16 as a
folder of the transformers library. MobileNet v1 needs no conversion: Keras' names are its own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import underpaint

Tensors = Mapping[str, torch.Tensor]


def same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "same" padding along one side, before and after: it is asymmetric."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class Convolution(nn.Module):
    """A convolution, what follows it folded in, and ReLU6, ReLU or nothing."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        stride: int = 1,
        groups: int = 1,
        top: float | None = 6.0,
        asymmetric: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.stride, self.groups, self.top, self.asymmetric = stride, groups, top, asymmetric

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w)."""
        kernel = self.weight.shape[2]
        padding = (kernel - 1) // 2
        if self.asymmetric and self.stride > 1:
            (top, bottom), (left, right) = same(x.shape[2], kernel, self.stride), same(x.shape[3], kernel, self.stride)
            x, padding = F.pad(x, (left, right, top, bottom)), 0
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return x if self.top is None else x.clamp(0, self.top)


def folded(weight: torch.Tensor, norm: tuple[torch.Tensor, ...], epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A convolution without bias with the batch norm (gamma, beta, mean, variance) after it, as one."""
    gamma, beta, mean, variance = norm
    scale = gamma / (variance + epsilon).sqrt()
    return weight * scale[:, None, None, None], beta - mean * scale


class Inverted(nn.Module):
    """An inverted residual block: wider, depthwise, narrower; added to its input where the shapes are the same."""

    def __init__(self, parts: list[Convolution], residual: bool) -> None:
        super().__init__()
        self.parts, self.residual = nn.Sequential(*parts), residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w)."""
        y: torch.Tensor = self.parts(x)
        return x + y if self.residual else y


class Features(nn.Module):
    """A stem and blocks, one after the other."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.stem, self.blocks = stem, nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, h, w), preprocessed."""
        y: torch.Tensor = self.blocks(self.stem(x))
        return y


LITE0 = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))
"""EfficientNet's stages (Tan & Le 2019, table 1): blocks, kernel, stride, expansion."""


def efficientnet_lite0(tensors: Tensors) -> Features:
    """RGB, (255 x − 127) / 128."""

    def part(convolution: str, norm: str, stride: int = 1, depthwise: bool = False, linear: bool = False) -> Convolution:
        parts = ("weight", "bias", "running_mean", "running_var")
        fold = folded(tensors[f"{convolution}.weight"], tuple(tensors[f"{norm}.{p}"] for p in parts), 1e-3)
        groups = fold[0].shape[0] if depthwise else 1
        return Convolution(*fold, stride, groups, None if linear else 6.0, asymmetric=True)

    blocks: list[nn.Module] = []
    for count, _, first, expansion in LITE0:
        for place in range(count):
            at, stride = f"_blocks.{len(blocks)}.", first if place == 0 else 1
            parts = [part(at + "_expand_conv", at + "_bn0")] if expansion > 1 else []
            parts.append(part(at + "_depthwise_conv", at + "_bn1", stride, depthwise=True))
            parts.append(part(at + "_project_conv", at + "_bn2", linear=True))
            blocks.append(Inverted(parts, place > 0))
    return Features(part("_conv_stem", "_bn0", 2), blocks)


MOBILENET_V2 = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))
"""MobileNetV2's stages (Sandler et al. 2018, table 2): expansion, blocks, stride."""


def mobilenet_v2(tensors: Tensors) -> Features:
    """RGB, ImageNet's mean and deviation."""
    numbers = iter(sorted({int(name.split("_")[1]) for name in tensors}))

    def part(stride: int = 1, depthwise: bool = False, linear: bool = False) -> Convolution:
        number = next(numbers)
        weight, bias = tensors[f"conv_{number}_weight"], tensors[f"conv_{number}_bias"]
        return Convolution(weight, bias, stride, weight.shape[0] if depthwise else 1, None if linear else 6.0)

    stem, blocks = part(2), list[nn.Module]()
    for expansion, count, first in MOBILENET_V2:
        for place in range(count):
            parts = [part()] if expansion > 1 else []
            parts += [part(first if place == 0 else 1, depthwise=True), part(linear=True)]
            blocks.append(Inverted(parts, place > 0))
    return Features(stem, blocks)


class PreActivation(nn.Module):
    """A bottleneck of ResNet v2 (He et al. 2016, 1603.05027): norm and ReLU come before each convolution."""

    def __init__(
        self, norm: tuple[torch.Tensor, torch.Tensor], parts: list[Convolution], shortcut: Convolution | None
    ) -> None:
        super().__init__()
        self.scale, self.offset = (nn.Parameter(each[:, None, None]) for each in norm)
        self.parts, self.shortcut = nn.Sequential(*parts), shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w)."""
        before = F.relu(x * self.scale + self.offset)
        y: torch.Tensor = self.parts(before)
        return (x if self.shortcut is None else self.shortcut(before)) + y


class Stem(nn.Module):
    """ResNet v2's first convolution; its max pooling comes with the first block, so that the stem's output is seen whole."""

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, h, w)."""
        y: torch.Tensor = self.convolution(x)
        return y


class Pooled(nn.Module):
    """Max pooling, then a module."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w)."""
        y: torch.Tensor = self.inner(F.max_pool2d(x, 3, 2, 1))
        return y


def resnet50_v2(tensors: Tensors) -> Features:
    """RGB, ImageNet's mean and deviation; stages 1 to 3."""

    def norm(name: str) -> tuple[torch.Tensor, ...]:
        return tuple(tensors[f"{name}_{part}"] for part in ("gamma", "beta", "running_mean", "running_var"))

    def affine(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        gamma, beta, mean, variance = norm(name)
        scale = gamma / (variance + 1e-5).sqrt()
        return scale, beta - mean * scale

    # The norm of the input comes before the padding, so that it cannot be folded into the first convolution exactly: a
    # picture's border is where it would show. It is a module of its own.
    first = Convolution(*folded(tensors["conv0_weight"], norm("batchnorm1"), 1e-5), 2, top=float("inf"))
    blocks: list[nn.Module] = []
    for stage, count in ((1, 3), (2, 4), (3, 6)):
        at, convolution, number = f"stage{stage}_", 0, 0
        for place in range(count):
            weights = [tensors[f"{at}conv{convolution + i}_weight"] for i in range(3)]
            stride = 2 if place == 0 and stage > 1 else 1
            second = folded(weights[0], norm(f"{at}batchnorm{number + 1}"), 1e-5)
            third = folded(weights[1], norm(f"{at}batchnorm{number + 2}"), 1e-5)
            parts = [
                Convolution(*second, top=float("inf")),
                Convolution(*third, stride, top=float("inf")),
                Convolution(weights[2], torch.zeros(len(weights[2])), top=None),
            ]
            convolution += 3
            shortcut = None
            if place == 0:
                weight = tensors[f"{at}conv{convolution}_weight"]
                shortcut = Convolution(weight, torch.zeros(len(weight)), stride, top=None)
                convolution += 1
            scale, offset = affine(f"{at}batchnorm{number}")
            blocks.append(PreActivation((scale, offset), parts, shortcut))
            number += 3
    blocks[0] = Pooled(blocks[0])
    return Features(nn.Sequential(Affine(*affine("batchnorm0")), Stem(first)), blocks)


class Affine(nn.Module):
    """A scale and an offset for each channel."""

    def __init__(self, scale: torch.Tensor, offset: torch.Tensor) -> None:
        super().__init__()
        self.scale, self.offset = nn.Parameter(scale[:, None, None]), nn.Parameter(offset[:, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w)."""
        return x * self.scale + self.offset


def read(path: Path) -> Tensors:
    """A file's tensors, float32."""
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def vit_tiny(tensors: Tensors, folder: Path) -> None:
    """Writes ViT-Ti/16 as a folder of the transformers library, which has other names for the same tensors."""
    made: dict[str, torch.Tensor] = {
        "embeddings.cls_token": tensors["cls_token"],
        "embeddings.position_embeddings": tensors["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": tensors["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": tensors["patch_embed.proj.bias"],
        "layernorm.weight": tensors["norm.weight"],
        "layernorm.bias": tensors["norm.bias"],
    }
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    for block in range(12):
        for part in ("weight", "bias"):
            there = f"layers.{block}."
            for old, new in (names | {"attn.proj": "attention.o_proj"}).items():
                made[f"{there}{new}.{part}"] = tensors[f"blocks.{block}.{old}.{part}"]
            three = tensors[f"blocks.{block}.attn.qkv.{part}"].chunk(3)
            made |= {f"{there}attention.{n}_proj.{part}": t.contiguous() for n, t in zip("qkv", three, strict=True)}
    configuration = {
        "model_type": "vit",
        "architectures": ["ViTModel"],
        "hidden_size": 192,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "intermediate_size": 768,
        "image_size": 224,
        "patch_size": 16,
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
        "qkv_bias": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(configuration, indent=1))
    half = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(half))
    save_file(made, folder / "model.safetensors", {"format": "pt"})


IMAGENET: dict[str, list[float]] = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
SCALED: dict[str, list[float]] = {"mean": [127, 127, 127], "std": [128, 128, 128]}


def write(weights: Path, folder: Path) -> list[Path]:
    """All networks' files, from a folder of published weights."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "efficientnet_lite0": (efficientnet_lite0, "efficientnet_lite0_imagenet", "EfficientNet-Lite0", SCALED, 0.18),
        "mobilenet_v2": (mobilenet_v2, "mobilenetv2_imagenet", "MobileNetV2", IMAGENET, 0.17),
        "resnet50_v2": (resnet50_v2, "resnet50v2_imagenet_stages1to3", "ResNet-50 v2, stages 1-3", IMAGENET, 0.35),
    }
    for name, (build, filename, told, preprocess, content) in made.items():
        underpaint.register(
            build(read(weights / f"{filename}.safetensors")),
            folder / f"{name}.pt2",
            mean=preprocess["mean"],
            std=preprocess["std"],
            told=told,
            licence="Apache-2.0",
            recipe={"content_weight": content},
        )
    vit_tiny(read(weights / "vit_tiny_patch16_224_imagenet.safetensors"), folder / "vit-tiny")
    return sorted(folder.iterdir())


def main() -> None:
    """Writes the networks' files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=Path(__file__).resolve().parents[2] / "shared/weights")
    args = parser.parse_args()
    for path in write(args.weights, args.folder):
        print(path)


if __name__ == "__main__":
    main()
