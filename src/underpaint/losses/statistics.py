"""What "style" is at a layer: a summary of its feature map that forgets where things are.

Every statistic works on features as a matrix X of n positions × C channels with weights w ≥ 0 of the positions that
sum to 1 (a mask; 1/n each without one), and is written as three sums so that several style pictures
share one summary and one way back:

    summary(X, w)              what is compared
    distance(summary, target)  a squared distance ≥ 0 and its gradient by the summary
    seed(g, X, w, gradient)    the gradient by X, added in place to g
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from underpaint.extensions import STATISTICS


def matrix(features: torch.Tensor) -> torch.Tensor:
    """(1, C, h, w) as (h·w, C), a view where the memory is channels last."""
    if features.shape[0] != 1:
        raise ValueError(f"one picture at a time, not {features.shape[0]}")
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


class Statistic(Protocol):
    """See the module's text. `draw` is the number that randomness depends on: (seed, scale, step) in one.

    Attributes:
        additive: its summary depends on sums over positions alone, so that tiles of a picture, or frames of a film, make
            one summary together: it is an `Additive` then.
        told: what is compared, for a paper's text, in the plural.
    """

    additive: ClassVar[bool]
    told: ClassVar[str]

    @property
    def name(self) -> str:
        """As a recipe spells it."""
        ...

    def summary(self, x: torch.Tensor, w: torch.Tensor | None, draw: int) -> Any:
        """Of features (n, C), weights (n,) or None."""
        ...

    def goal(self, x: torch.Tensor, w: torch.Tensor | None) -> Any:
        """What is kept of a style picture, for `target`."""
        ...

    def target(self, goal: Any, draw: int) -> Any:
        """What a goal is under this draw: what `distance` compares a summary with."""
        ...

    def distance(self, summary: Any, target: Any) -> tuple[torch.Tensor, Any]:
        """A scalar and its gradient by `summary`."""
        ...

    def size(self, target: Any) -> torch.Tensor:
        """The target's own squared size, in the distance's unit: the floor of the normaliser depends on it."""
        ...

    def seed(self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor | None, gradient: Any) -> None:
        """Adds the cotangent to g (n, C), a view of the layer's gradient."""
        ...

    def combine(self, parts: list[tuple[float, Any]]) -> Any:
        """Σ factor × gradient, for terms that share a summary."""
        ...


class Additive(Statistic, Protocol):
    """summary(x, w) = of_sums(sums(x, w), n), or with weights of_sums(sums(x, w), 1), since these sum to 1; and sums of parts
    add up to the sums of the whole, part by part."""

    def sums(self, x: torch.Tensor, w: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """Over the positions of a part, features (n, C), weights (n,) or None for 1 each."""
        ...

    def of_sums(self, sums: tuple[torch.Tensor, ...], total: float) -> Any:
        """The summary; `total` is the weights' sum over all parts."""
        ...


def statistic(name: str) -> Statistic:
    """The one of this name.

    Raises:
        UnderpaintError: there is none.
    """
    made: Statistic = STATISTICS[name]()
    return made


def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """XᵀY as float32 (C, C), of (n, C) matrices of any precision.

    In bfloat16 the sum over positions is done in blocks of 4,096 whose results are added in float32: one product would round
    the whole sum to 8 bits. What is left over, all of it in a small picture, is multiplied in float32, for a few
    blocks' rounding errors are noise that a line search stumbles over.
    """
    if x.dtype != torch.bfloat16:
        return x.T @ y
    whole = x.shape[0] // 4096 * 4096
    out = x[whole:].float().T @ y[whole:].float()
    if whole:
        xs, ys = x[:whole].view(-1, 4096, x.shape[1]), y[:whole].view(-1, 4096, y.shape[1])
        out += torch.bmm(xs.transpose(1, 2), ys).float().sum(0)
    return out


@dataclass(frozen=True)
class Gram:
    """Σ_p w_p X_p X_pᵀ, compared by the sum of squared differences (Gatys et al. 2016, eqs. 3-5).

    Departure: divided by the number of positions (through w), so that pictures of different sizes compare.
    """

    name: str = "gram"

    additive: ClassVar[bool] = True
    told: ClassVar[str] = "squared differences of Gram matrices"

    def summary(self, x: torch.Tensor, w: torch.Tensor | None, draw: int = 0) -> torch.Tensor:
        """(C, C), float32."""
        return self.of_sums(self.sums(x, w), x.shape[0] if w is None else 1)

    def sums(self, x: torch.Tensor, w: torch.Tensor | None) -> tuple[torch.Tensor]:
        """Σ w x xᵀ, (C, C)."""
        return (product(x if w is None else x * w[:, None].to(x.dtype), x),)

    def of_sums(self, sums: tuple[torch.Tensor], total: float) -> torch.Tensor:
        """Their mean."""
        return sums[0] / total

    def goal(self, x: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
        """The style picture's Gram matrix."""
        return self.summary(x, w)

    def target(self, goal: torch.Tensor, draw: int) -> torch.Tensor:
        """The goal itself."""
        return goal

    def distance(self, summary: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """‖G − A‖² and 2 (G − A)."""
        difference = summary - target
        return difference.square().sum(), 2 * difference

    def size(self, target: torch.Tensor) -> torch.Tensor:
        """‖A‖²."""
        return target.square().sum()

    def seed(self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor | None, gradient: torch.Tensor) -> None:
        """2 w X ∂; the gradient by G is symmetric."""
        if w is None:
            g.addmm_(x, (gradient * (2 / x.shape[0])).to(x.dtype))
        else:
            g.addmm_(x * w[:, None].to(x.dtype), (2 * gradient).to(x.dtype))

    def combine(self, parts: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
        """Σ factor × gradient."""
        return torch.stack([factor * gradient for factor, gradient in parts]).sum(0)


def by_raw_moments(
    mean: torch.Tensor, by_mean: torch.Tensor, by_covariance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient by E[x] and E[x xᵀ] of one by mean and covariance: Σ = E[x xᵀ] − E[x] E[x]ᵀ. It leads back to the features
    without another look at their mean."""
    return by_mean - 2 * by_covariance @ mean, by_covariance


@dataclass(frozen=True)
class Moments:
    """Mean μ (C,) and covariance Σ (C, C) of a layer's features.

    The distance is ‖μ − μ'‖²/‖μ'‖² + ‖Σ − Σ'‖²/‖Σ'‖²: the two have different units (cf. Li et al. 2017, "Demystifying
    Neural Style Transfer", which matches means and variances; Wasserstein distances of Gaussians use both).
    """

    name: str = "moments"

    additive: ClassVar[bool] = True
    told: ClassVar[str] = "squared differences of means and covariances"

    def summary(self, x: torch.Tensor, w: torch.Tensor | None, draw: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """(C,) and (C, C), float32."""
        return self.of_sums(self.sums(x, w), x.shape[0] if w is None else 1)

    def sums(self, x: torch.Tensor, w: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Σ w x, (C,), and Σ w x xᵀ, (C, C)."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        weighted = x if w is None else x * w[:, None].to(x.dtype)
        return weighted.sum(0, dtype=dtype), product(weighted, x)

    def of_sums(self, sums: tuple[torch.Tensor, torch.Tensor], total: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean, and the mean of products less the product of means."""
        mean = sums[0] / total
        return mean, sums[1] / total - torch.outer(mean, mean)

    def goal(self, x: torch.Tensor, w: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The style picture's moments."""
        return self.summary(x, w)

    def target(self, goal: tuple[torch.Tensor, torch.Tensor], draw: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The goal itself."""
        return goal

    def distance(
        self, summary: tuple[torch.Tensor, torch.Tensor], target: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """See the class; the gradient as `by_raw_moments` has it."""
        differences = [a - b for a, b in zip(summary, target, strict=True)]
        sizes = [b.square().sum().clamp_min(1e-12) for b in target]
        value = sum((d.square().sum() / s for d, s in zip(differences, sizes, strict=True)), torch.zeros(()))
        return value, by_raw_moments(summary[0], 2 * differences[0] / sizes[0], 2 * differences[1] / sizes[1])

    def size(self, target: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """2: both parts are relative already."""
        return torch.tensor(2.0)

    def seed(
        self,
        g: torch.Tensor,
        x: torch.Tensor,
        w: torch.Tensor | None,
        gradient: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        """w (∂E[x] + 2 X ∂E[x xᵀ])."""
        by_mean, by_product = gradient
        Gram().seed(g, x, w, by_product)
        if w is None:
            g.add_((by_mean / x.shape[0]).to(x.dtype))
        else:
            g.addcmul_(w[:, None].to(x.dtype), by_mean.to(x.dtype)[None])

    def combine(self, parts: list[tuple[float, tuple[torch.Tensor, torch.Tensor]]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Σ factor × gradient, part by part."""
        means = torch.stack([f * g[0] for f, g in parts]).sum(0)
        return means, torch.stack([f * g[1] for f, g in parts]).sum(0)


RANK = 64

WIDENED = 0.01


@dataclass(frozen=True)
class Gaussian:
    """A style's features at a layer as a Gaussian, told by its widest directions and how much lies beside them.

    Attributes:
        mean: (C,).
        basis: (C, k), orthonormal: the covariance's eigenvectors with the largest eigenvalues.
        spread: (k,) float64 on the CPU, the variances along them.
        rest: the variance in all other directions together.
    """

    mean: torch.Tensor
    basis: torch.Tensor
    spread: torch.Tensor
    rest: float

    @property
    def widening(self) -> float:
        """Variance that is added in every direction to both Gaussians before they are compared."""
        return WIDENED * float(self.spread.mean()) + 1e-20


@dataclass(frozen=True)
class Wasserstein:
    """Squared Wasserstein-2 distance of Gaussians, ‖μ − μ'‖² + tr(Σ + Σ' − 2 (Σ'^½ Σ Σ'^½)^½) (Dowson & Landau 1982).

    It knows how far features have to be moved, where a difference of Gram matrices or covariances counts a layer's widest
    directions by their squares and hardly sees the others. crowsonkb/style-transfer-pytorch matches the same distance.

    Departures: the covariances are compared within the style's `rank` widest directions, and beside them by the total
    variance alone, (√r − √r')², which is the distance of isotropic Gaussians there: 64 directions instead of 512 make the
    matrix's root cheap. Both Gaussians are widened by 1 % of the style's mean variance first, so that the gradient is
    bounded where the pastiche has no variance yet.
    """

    name: str = "wasserstein"
    rank: int = RANK

    additive: ClassVar[bool] = True
    told: ClassVar[str] = "squared Wasserstein-2 distances of Gaussians fitted to the features"

    def summary(self, x: torch.Tensor, w: torch.Tensor | None, draw: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (C,) and covariance (C, C), float32."""
        return Moments().summary(x, w)

    def sums(self, x: torch.Tensor, w: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Moments.sums`."""
        return Moments().sums(x, w)

    def of_sums(self, sums: tuple[torch.Tensor, torch.Tensor], total: float) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Moments.of_sums`."""
        return Moments().of_sums(sums, total)

    def goal(self, x: torch.Tensor, w: torch.Tensor | None) -> Gaussian:
        """The style picture's Gaussian."""
        mean, covariance = self.summary(x, w)
        # Decompositions are in float64 on the CPU, which every machine has: roots of float32's rounding errors show.
        values, vectors = torch.linalg.eigh(covariance.cpu().double())
        values, count = values.clamp_min(0), min(self.rank, len(mean))
        basis = vectors[:, -count:].to(covariance.dtype).to(mean.device).contiguous()
        return Gaussian(mean, basis, values[-count:], float(values[:-count].sum()))

    def target(self, goal: Gaussian, draw: int) -> Gaussian:
        """The goal itself."""
        return goal

    def distance(
        self, summary: tuple[torch.Tensor, torch.Tensor], target: Gaussian
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """See the class; the gradient as `by_raw_moments` has it.

        That of tr(A^½ Σ A^½)^½ by Σ is ½ A^½ (A^½ Σ A^½)^-½ A^½ (Bhatia, Jain & Lim 2019, "On the Bures-Wasserstein
        distance between positive definite matrices", section 3).
        """
        mean, covariance = summary
        difference, basis = mean - target.mean, target.basis
        within = (basis.T @ (covariance @ basis)).cpu().double()
        own, wide = within.clone(), target.spread + target.widening
        own.diagonal().add_(target.widening)
        root = wide.sqrt()
        values, vectors = torch.linalg.eigh(root[:, None] * own * root)
        lengths = values.clamp_min(target.widening**2 / 4).sqrt()
        transport = root[:, None] * ((vectors / lengths) @ vectors.T) * root
        value = float(own.trace() + wide.sum() - 2 * lengths.sum() + difference.double().square().sum())
        by_within = torch.eye(len(wide), dtype=torch.float64) - transport
        by_covariance = torch.zeros_like(covariance)
        beside = len(mean) - len(wide)
        if beside:
            widened = beside * target.widening
            ours = math.sqrt(max(float(covariance.trace()) - float(within.trace()), 0.0) + widened)
            theirs = math.sqrt(target.rest + widened)
            value += (ours - theirs) ** 2
            slope = 1 - theirs / ours
            by_within.diagonal().sub_(slope)
            by_covariance.diagonal().add_(slope)
        by_covariance += basis @ by_within.to(basis.dtype).to(basis.device) @ basis.T
        return mean.new_tensor(max(value, 0.0)), by_raw_moments(mean, 2 * difference, by_covariance)

    def size(self, target: Gaussian) -> torch.Tensor:
        """‖μ'‖² + tr Σ': the distance to features that are all 0, but for the widening."""
        return target.mean.square().sum() + float(target.spread.sum()) + target.rest

    def seed(
        self,
        g: torch.Tensor,
        x: torch.Tensor,
        w: torch.Tensor | None,
        gradient: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        """As `Moments.seed`."""
        Moments().seed(g, x, w, gradient)

    def combine(self, parts: list[tuple[float, tuple[torch.Tensor, torch.Tensor]]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Σ factor × gradient, part by part."""
        return Moments().combine(parts)


SLICES = 32


@dataclass(frozen=True)
class Quantiles:
    """One-dimensional distributions along P directions, as sorted samples.

    Attributes:
        values: (P, n), ascending.
        order: (P, n), where each came from.
        middles: (n,) or (P, n), the cumulative weight at the middle of each sample, 0..1.
        weights: (n,) or (P, n), of the sorted samples; they sum to 1.
        directions: (P, C), unit vectors.
    """

    values: torch.Tensor
    order: torch.Tensor
    middles: torch.Tensor
    weights: torch.Tensor
    directions: torch.Tensor

    def at(self, middles: torch.Tensor) -> torch.Tensor:
        """The values (P, m) at cumulative weights (m,) or (P, m), linear between samples."""
        own, wanted = (t.expand(self.values.shape[0], -1).contiguous() for t in (self.middles, middles))
        if own.shape[1] == 1:
            return self.values.expand(-1, wanted.shape[1])
        right = torch.searchsorted(own, wanted).clamp(1, own.shape[1] - 1)
        x0, x1 = own.gather(1, right - 1), own.gather(1, right)
        t = ((wanted - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
        return torch.lerp(self.values.gather(1, right - 1), self.values.gather(1, right), t)


@dataclass(frozen=True)
class Sliced:
    """Sliced Wasserstein distance, squared: mean over random directions of the one-dimensional optimal transport
    cost between the projected features (Heitz et al. 2021, "A Sliced Wasserstein Loss for Neural Texture
    Synthesis", eqs. 4-6).

    Departures: at most `slices` directions (the paper draws as many as there are channels), drawn anew at every step;
    samples of unequal numbers are compared through quantiles, linear between samples.
    """

    name: str = "sliced"
    slices: int = SLICES

    additive: ClassVar[bool] = False
    told: ClassVar[str] = "sliced Wasserstein distances"

    def summary(self, x: torch.Tensor, w: torch.Tensor | None, draw: int = 0) -> Quantiles:
        """The features projected and sorted."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        count = min(self.slices, x.shape[1])
        generator = torch.Generator().manual_seed(draw)
        directions = torch.randn(count, x.shape[1], generator=generator, dtype=torch.float64)
        directions = (directions / directions.norm(dim=1, keepdim=True)).to(dtype).to(x.device)
        values, order = (directions @ x.to(dtype).T).sort(dim=1, stable=True)
        if w is None:
            weights = torch.full((x.shape[0],), 1 / x.shape[0], device=x.device, dtype=dtype)
            middles = (torch.arange(x.shape[0], device=x.device, dtype=dtype) + 0.5) / x.shape[0]
        else:
            weights = w.to(dtype).expand(count, -1).gather(1, order)
            # In float64 on the CPU, which every machine has: 200,000 small numbers lose their sum in float32.
            middles = (weights.cpu().double().cumsum(-1).to(dtype).to(x.device) - weights / 2).clamp_(0, 1)
        return Quantiles(values, order, middles, weights, directions)

    def goal(self, x: torch.Tensor, w: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The style picture's features themselves: each draw sees them from other sides."""
        return x, w

    def target(self, goal: tuple[torch.Tensor, torch.Tensor | None], draw: int) -> Quantiles:
        """The style picture's features seen along this draw's directions."""
        return self.summary(*goal, draw)

    def distance(self, summary: Quantiles, target: Quantiles) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean over directions of Σ w (value − target)²; the gradient by the features, (C, n)."""
        difference = summary.values - target.at(summary.middles)
        weighted = difference * summary.weights / len(difference)
        by_projection = torch.empty_like(difference).scatter_(1, summary.order, 2 * weighted)
        return (weighted * difference).sum(), summary.directions.T @ by_projection

    def size(self, target: Quantiles) -> torch.Tensor:
        """Mean over directions of Σ w value²: the distance to all-zero features."""
        return (target.values.square() * target.weights).sum() / len(target.values)

    def seed(self, g: torch.Tensor, x: torch.Tensor, w: torch.Tensor | None, gradient: torch.Tensor) -> None:
        """Adds the gradient, which is by the features already."""
        g.add_(gradient.T.to(g.dtype))

    def combine(self, parts: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
        """Σ factor × gradient."""
        return torch.stack([factor * gradient for factor, gradient in parts]).sum(0)
