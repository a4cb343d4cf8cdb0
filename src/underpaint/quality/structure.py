"""What a pastiche kept of its content's structure: edges, and which places are alike.

A style may change every colour and texture; what is to stay is where contours run and which parts look like which. `edges`
asks the first of the pixels, `self_similarity` and `cfsd` ask the second of a network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from underpaint.errors import UnderpaintError
from underpaint.imaging.color import RGB_TO_YIQ
from underpaint.networks.base import Network
from underpaint.quality.pair import check_pair
from underpaint.quality.sliced import shrunk

STRUCTURE_MIN_SIDE = 32
"""Pixels: under it deep layers have but one or two places along a side."""

EDGE_SIZES = (1, 2, 4)
EDGE_MIN_SIDE = 8
"""Short side, pixels, under which a smaller size is not looked at."""

SIMILARITY_GRID = 32
CFSD_GRID = 64
"""Places along the longer side, at most: comparing all with all goes with the fourth power of a side."""

ALIKE = 1e-9
"""A cosine distance under which two places are the same."""


@torch.no_grad()
def edges(a: torch.Tensor, b: torch.Tensor) -> float:
    """Whether edges are where they were, in two RGB pictures (1, 3, H, W) in 0..1, each side at least 11 px.

        e(a, b) = mean over sizes of corr(|∇Y_a|, |∇Y_b|),    |∇Y| = √((Y ∗ Sobel_x)² + (Y ∗ Sobel_y)²)

    where Y is the luma, corr is Pearson's correlation over the pixels inside, and the sizes are full, half and quarter
    (antialiased). A similarity, -1..1: 1 is the same edges (whatever their common contrast, and whichever side is the
    darker), higher is more alike; 0 is unrelated. Symmetric.

    Source: the edge preservation index of Sattar et al. 1997, "Image Enhancement Based on a Nonlinear Multiscale Method",
    IEEE Trans. Image Processing 6(6), which correlates high-passed pictures. Departures: magnitudes of Sobel gradients in
    place of a Laplacian, since a style may turn dark on light into light on dark; three sizes, since strokes are edges too
    and those of the content that matter are longer.

    Raises:
        UnderpaintError: the pictures differ in size or are too small, or one has no edges at all.
    """
    check_pair(a, b, "edges", 11)
    sizes = [f for f in EDGE_SIZES if f == 1 or min(a.shape[2:]) // f >= EDGE_MIN_SIDE]
    found = []
    for factor in sizes:
        x, y = (_gradient(shrunk(p.detach().cpu().double(), factor)) for p in (a, b))
        x, y = x - x.mean(), y - y.mean()
        size = float(x.norm() * y.norm())
        if size < 1e-9:
            raise UnderpaintError("edges: a picture of one colour has none to compare; use another picture")
        found.append(float((x * y).sum()) / size)
    return sum(found) / len(found)


def _gradient(x: torch.Tensor) -> torch.Tensor:
    """|∇Y| of (1, 3, H, W) at the pixels inside, (H − 2, W − 2)."""
    luma = torch.einsum("c,bchw->bhw", torch.from_numpy(RGB_TO_YIQ[0]), x)[:, None]
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=x.dtype) / 8
    gradients = F.conv2d(luma, torch.stack([across, across.T])[:, None])
    return gradients[0].square().sum(0).sqrt()


@torch.no_grad()
def self_similarity(a: torch.Tensor, b: torch.Tensor, network: Network) -> float:
    """How differently the places of two RGB pictures (1, 3, H, W) in 0..1, each side at least 32 px, are alike.

        s(a, b) = 1/n Σ_ij | D^a_ij / Σ_i D^a_ij − D^b_ij / Σ_i D^b_ij |,    D_ij = mean over layers l of 1 − cos(f_li, f_lj)

    where f_li is the feature vector of layer l at place i of a regular grid of n places, at most 32 along a side (between
    positions of the layer, bilinear). A distance, 0..2: 0 is the same pattern of likeness, lower is more alike; what the
    places look like does not matter, only how unlike each other they are. Symmetric.

    Source: the content loss of Kolkin et al. 2019, "Style Transfer by Relaxed Optimal Transport and Self-Similarity"
    (STROTSS), with its code's factor (n times the mean). Departures: the layers that the given network names (relu1_2,
    relu2_2, relu3_3 and relu4_3 of VGG), the mean of each one's cosine distances, where STROTSS joins nine layers of VGG-16
    and the colours into one vector, in which layers of large values outweigh the others; a fixed grid for 1,024 random
    places. A place without any activation is at distance 1 from all others; a picture whose places are all alike has D = 0 in
    place of 0/0.

    Raises:
        UnderpaintError: the pictures differ in size or are too small; the network lacks a layer.
    """
    check_pair(a, b, "self-similarity", STRUCTURE_MIN_SIDE)
    layers = _check_layers(network, network.anatomy.similarity_layers)
    x, y = (_shares(network, p, layers) for p in (a, b))
    return float((x - y).abs().sum()) / len(x)


def _shares(network: Network, picture: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
    """D with every column divided by its sum, (n, n) float64."""
    features = network.features(picture.to(network.device, torch.float32), layers)
    distance = torch.zeros(())
    for layer in layers:
        places = _at_grid(features[layer], picture, SIMILARITY_GRID)
        unit = places / places.norm(dim=1, keepdim=True).clamp_min(1e-12)
        distance = distance + (1 - unit @ unit.T) / len(layers)
    # What rounding leaves of equal places must not be blown up by a sum that is nothing else.
    distance = torch.where(distance < ALIKE, 0, distance).fill_diagonal_(0)
    return distance / distance.sum(0, keepdim=True).clamp_min(ALIKE)


@torch.no_grad()
def cfsd(pastiche: torch.Tensor, content: torch.Tensor, network: Network) -> float:
    """Content feature structural distance of two RGB pictures (1, 3, H, W) in 0..1, each side at least 32 px.

        CFSD = 1/n Σ_i KL(S^content_i ‖ S^pastiche_i),    S_ij = softmax over j of ⟨f_i, f_j⟩ / ρ

    where f_i is relu3_1's feature vector at place i of n, and ρ the mean of ‖f_i‖² over the content's places. A distance, 0
    upwards: 0 is the same correlations of places, lower is more alike; no fixed top. Not symmetric.

    Source: Chung et al. 2024, "Style Injection in Diffusion: A Training-free Approach for Adapting Large-scale Diffusion
    Models for Style Transfer" (CVPR), and its code, which takes torchvision's VGG-19. Departures: ρ, where the code divides
    by the square of the number of channels, which suits the scale of those weights alone (with others the softmax is flat or
    one-hot); the mean over places, where the code sums; a grid of at most 64 places along a side, where it takes all. So
    figures do not compare with published ones.

    Raises:
        UnderpaintError: the pictures differ in size or are too small; the network lacks relu3_1.
    """
    check_pair(pastiche, content, "CFSD", STRUCTURE_MIN_SIDE)
    (layer,) = _check_layers(network, (network.anatomy.cfsd_layer,))
    ours, theirs = (
        _at_grid(network.features(p.to(network.device, torch.float32), [layer])[layer], p, CFSD_GRID)
        for p in (pastiche, content)
    )
    scale = theirs.square().sum(1).mean().clamp_min(1e-12)
    log_p, log_q = (torch.log_softmax(x @ x.T / scale, 1) for x in (theirs, ours))
    # Rounding can take a sum that is 0 a little below it.
    return max(0.0, float((log_p.exp() * (log_p - log_q)).sum()) / len(log_p))


def _check_layers(network: Network, layers: tuple[str | None, ...]) -> tuple[str, ...]:
    found = tuple(layer for layer in layers if layer is not None and layer in network.layers)
    if not found or len(found) < len(layers):
        missing = next((layer for layer in layers if layer and layer not in found), "layers for it")
        raise UnderpaintError(f"structure: {network.name} has no {missing}; measure with compact, vgg19 or vgg16")
    return found


def _at_grid(features: torch.Tensor, picture: torch.Tensor, longest: int) -> torch.Tensor:
    """(n, C) float64 features at the middles of a grid's cells, of the picture's proportions.

    Never finer than one cell for four pixels.
    """
    height, width = picture.shape[2:]
    scale = min(1 / 4, longest / max(height, width))
    size = [max(1, round(side * scale)) for side in (height, width)]
    at = F.interpolate(features.float(), size, mode="bilinear", align_corners=False)
    return at[0].flatten(1).T.cpu().double()
