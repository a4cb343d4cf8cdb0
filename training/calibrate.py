"""VGG-19 factored layer by layer: reduced-rank regression of its responses on the student's own inputs.

Zhang, Zou, He & Sun 2015, "Accelerating Very Deep Convolutional Networks for Classification and Detection"
(arXiv:1505.06798), eqs. 3-6 and the asymmetric reconstruction of section 3.3: a layer's inputs are what the student, not
the teacher, makes of the picture, so that a layer mends the errors of those before it. The paper's non-linear solver
(section 3.2) is left to the fine-tuning that follows. Where the plan says so, a 1×1 convolution first brings the inputs to
fewer channels (Kim et al. 2015, "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile
Applications", arXiv:1511.06530, section 3.2, with the inputs' covariance for the identity): the regression then is on those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from training.student import TAPS, Plan, Student
from underpaint.networks.chain import MEAN_RGB
from underpaint.networks.compact import LAYERS
from underpaint.networks.vgg import keras_name

POSITIONS = 100
"""Positions a crop gives to a layer's regression, at most."""

RIDGE = 1e-5
"""Of the mean of the diagonal of XᵀX."""

BATCH = 16


def calibrate(
    teacher: Mapping[str, torch.Tensor], plan: Plan, crops: torch.Tensor, announce: Callable[[str], None], seed: int = 0
) -> Student:
    """The student that the regressions give.

    Args:
        teacher: VGG-19's tensors, as its file has them.
        crops: (N, 3, h, w), 0..1. Two feature maps of all of them are kept in half precision.
        announce: told of each layer's relative residual before the ReLU.
    """
    generator = torch.Generator().manual_seed(seed)
    first = keras_name(LAYERS[0])
    tensors = {f"{first}.weight": teacher[f"{first}.weight"].flip(1) * 255, f"{first}.bias": teacher[f"{first}.bias"]}
    channels = {LAYERS[0]: torch.arange(teacher[f"{first}.bias"].numel())}
    mean = torch.tensor(MEAN_RGB).div(255).view(1, 3, 1, 1)
    own = torch.cat([_first(batch - mean, tensors, first) for batch in torch.split(crops, BATCH)])
    theirs = own.clone()
    for place, layer in enumerate(LAYERS[1:], 1):
        name = keras_name(layer)
        if layer.endswith("_1"):
            own, theirs = (
                torch.cat([F.max_pool2d(b.float(), 2, ceil_mode=True).half() for b in torch.split(t, 64)])
                for t in (own, theirs)
            )
        weight, bias = teacher[f"{name}.weight"], teacher[f"{name}.bias"]
        sums = _Sums(9 * own.shape[1], bias.numel())
        following = []
        for x, y in zip(torch.split(own, BATCH), torch.split(theirs, BATCH), strict=True):
            response = F.conv2d(y.float(), weight, bias, padding=1)
            sums.add(*_rows(x.float(), response, generator))
            following.append(response.relu_().half())
        theirs = torch.cat(following)
        kept = torch.arange(bias.numel())
        rank, width, inputs = plan.widths[layer]
        if layer not in TAPS and width < bias.numel():
            kept = choose(theirs, teacher[f"{keras_name(LAYERS[place + 1])}.weight"], width)
        channels[layer] = kept
        if inputs is not None:
            projection = sums.projection(inputs, kept)
            tensors[f"{name}.project.weight"] = projection.float()[:, :, None, None].contiguous()
            sums = sums.projected(projection)
        reduce, expand, offset, residual = sums.solve(rank, kept)
        tensors[f"{name}.reduce.weight"] = reduce.view(len(reduce), -1, 3, 3)
        tensors[f"{name}.expand.weight"] = expand[:, :, None, None].contiguous()
        tensors[f"{name}.bias"] = offset
        announce(f"{layer}: rank {rank}, {kept.numel()} of {bias.numel()} channels, residual {residual:.4f}")
        own = torch.cat([_factored(b.float(), tensors, name) for b in torch.split(own, BATCH)])
    return Student(tensors, channels)


def _first(x: torch.Tensor, tensors: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"]).relu_().half()


def _factored(x: torch.Tensor, tensors: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    if f"{name}.project.weight" in tensors:
        x = F.conv2d(x, tensors[f"{name}.project.weight"])
    x = F.conv2d(x, tensors[f"{name}.reduce.weight"], padding=1)
    return F.conv2d(x, tensors[f"{name}.expand.weight"], tensors[f"{name}.bias"]).relu_().half()


def _rows(x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches (n, 9·I) and responses (n, O) at random positions, the same for all pictures of the batch."""
    positions = x.shape[2] * x.shape[3]
    places = torch.randperm(positions, generator=generator)[:POSITIONS]
    rows, columns = places // x.shape[3], places % x.shape[3]
    padded = F.pad(x, (1, 1, 1, 1))
    patches = torch.stack([padded[:, :, rows + i, columns + j] for i in range(3) for j in range(3)], 2)
    return (
        patches.permute(0, 3, 1, 2).reshape(-1, 9 * x.shape[1]),
        y[:, :, rows, columns].permute(0, 2, 1).reshape(-1, y.shape[1]),
    )


class _Sums:
    """What a regression with an intercept needs of its rows."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.xx = torch.zeros(inputs, inputs, dtype=torch.float64)
        self.xy = torch.zeros(inputs, outputs, dtype=torch.float64)
        self.yy = torch.zeros(outputs, dtype=torch.float64)
        self.x, self.y = torch.zeros(inputs, dtype=torch.float64), torch.zeros(outputs, dtype=torch.float64)
        self.n = 0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.yy += y.square().sum(0)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.n += len(x)

    def _centred(self, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Covariances of the inputs, with a ridge, and of the inputs with the kept responses."""
        mx, my = self.x / self.n, self.y[kept] / self.n
        xx = self.xx / self.n - mx[:, None] * mx
        xx.diagonal().add_(RIDGE * float(xx.diagonal().mean()))
        return xx, self.xy[:, kept] / self.n - mx[:, None] * my

    def projection(self, count: int, kept: torch.Tensor) -> torch.Tensor:
        """(count, I): what of the input channels the responses are told from, the same at all nine positions.

        With M (I, 9·O) the regression's weights and Σ the channels' covariance, mean over positions: the leading
        eigenvectors u of Σ^½ M Mᵀ Σ^½, as uᵀ Σ^-½, but for the covariance between positions the best of that rank.
        """
        xx, xy = self._centred(kept)
        m = _solved(xx, xy).view(-1, 9, len(kept)).flatten(1)
        sigma = xx.view(len(m), 9, len(m), 9).diagonal(dim1=1, dim2=3).mean(2)
        values, vectors = torch.linalg.eigh(sigma)
        values = values.clamp_min(1e-9 * float(values[-1]))
        root, inverse = ((vectors * values.pow(power)) @ vectors.T for power in (0.5, -0.5))
        u = torch.linalg.eigh(root @ m @ m.T @ root).eigenvectors[:, -count:]
        found: torch.Tensor = u.T @ inverse
        return found

    def projected(self, projection: torch.Tensor) -> _Sums:
        """The same sums of inputs brought through (s, I) at each of the nine positions."""
        every = torch.kron(projection, torch.eye(9, dtype=projection.dtype))
        sums = _Sums(len(every), len(self.y))
        sums.xx, sums.xy, sums.x = every @ self.xx @ every.T, every @ self.xy, every @ self.x
        sums.y, sums.yy, sums.n = self.y, self.yy, self.n
        return sums

    def solve(self, rank: int, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
        """Reduce (r, 9·I), expand (O, r), bias (O,), and the share of the responses' variance that is missed.

        The best rank-r predictor is the full regression followed by a projection onto the r leading
        eigenvectors of the predictions' covariance.
        """
        mx, my = self.x / self.n, self.y[kept] / self.n
        xx, xy = self._centred(kept)
        variance = float((self.yy[kept] / self.n - my.square()).sum())
        full = _solved(xx, xy)
        values, vectors = torch.linalg.eigh(xy.T @ full)
        basis = vectors[:, -rank:]
        reduce = full @ basis
        # Equal scales on both sides keep half precision and the optimiser's steps even.
        scale = reduce.norm(dim=0).clamp_min(1e-12).sqrt()
        offset = my - basis @ (reduce.T @ mx)
        missed = 1 - float(values[-rank:].sum()) / variance
        return (reduce / scale).T.float().contiguous(), (basis * scale).float(), offset.float(), missed


def _solved(xx: torch.Tensor, xy: torch.Tensor) -> torch.Tensor:
    return torch.linalg.solve(xx, xy) if len(xx) < 64 else torch.cholesky_solve(xy, torch.linalg.cholesky(xx))


def choose(features: torch.Tensor, following: torch.Tensor, count: int) -> torch.Tensor:
    """Which channels to keep so that the next convolution can be told from them, greedily.

    With Σ the channels' covariance given those chosen and Q = Σ_taps W Wᵀ of the next convolution, leaving the others out
    costs about tr(QΣ); each choice takes away the most of it.

    Args:
        features: (N, C, h, w).
        following: the next convolution's weights (O, C, 3, 3).
    """
    sample = features[:: max(1, len(features) // 200), :, ::3, ::3].float().permute(1, 0, 2, 3).flatten(1).double()
    sigma = torch.cov(sample)
    w = following.double().permute(1, 0, 2, 3).flatten(1)
    q = w @ w.T
    chosen: list[int] = []
    start = sigma.diagonal().clone()
    for _ in range(count):
        gain = (sigma * (q @ sigma)).sum(0) / sigma.diagonal().clamp_min(1e-12)
        # A channel whose variance the others explain has only rounding errors left.
        gain[sigma.diagonal() < 1e-6 * start.max()] = -1
        gain[chosen] = -2
        best = int(gain.argmax())
        chosen.append(best)
        sigma = sigma - sigma[:, best, None] * sigma[best] / sigma[best, best].clamp_min(1e-12)
    return torch.tensor(sorted(chosen))
