"""What average pooling must be multiplied by, block by block, to have max pooling's root mean square.

    python benchmarks/pooling.py

Measured on the sample photographs and styles with VGG-19 as trained (max pooling below the block).
The constants in `underpaint.networks.vgg.AVERAGE_POOL_GAIN` are this command's output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from underpaint import samples
from underpaint.imaging import images
from underpaint.networks import registry


def main() -> None:
    """Prints four numbers."""
    pictures = [images.read(samples.photograph(name)) for name in samples.photographs()]
    pictures += [images.read(samples.style_path(name)) for name in samples.styles()]
    tensors = [
        torch.from_numpy(images.resize(p.rgb, images.size_for(p.rgb.shape, 256))).permute(2, 0, 1)[None] for p in pictures
    ]
    layers = ["relu1_2", "relu2_2", "relu3_4", "relu4_4"]
    network = registry.open_network("vgg19", layers).network
    for layer in layers:
        squares = torch.zeros(2)
        for image in tensors:
            features = network.features(image, [layer])[layer]
            squares[0] += F.max_pool2d(features, 2).square().mean()
            squares[1] += F.avg_pool2d(features, 2).square().mean()
        print(f"{layer} {float((squares[0] / squares[1]).sqrt()):.3f}")


if __name__ == "__main__":
    main()
