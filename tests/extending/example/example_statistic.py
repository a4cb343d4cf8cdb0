"""A statistic of another package: how far each channel spreads. See docs/extending.md."""

import torch


class Spread:
    """The channels' root mean squares, compared by the sum of squared differences."""

    name = "spread"
    additive = True
    told = "squared differences of the channels' root mean squares"

    def sums(self, x, w):
        return ((x.float().square() if w is None else x.float().square() * w[:, None]).sum(0),)

    def of_sums(self, sums, total):
        return (sums[0] / total + 1e-8).sqrt()

    def summary(self, x, w, draw=0):
        return self.of_sums(self.sums(x, w), x.shape[0] if w is None else 1)

    def goal(self, x, w):
        return self.summary(x, w)

    def target(self, goal, draw):
        return goal

    def distance(self, summary, target):
        difference = summary - target
        return difference.square().sum(), difference / summary

    def size(self, target):
        return target.square().sum()

    def seed(self, g, x, w, gradient):
        g.add_((x.float() * gradient * 2 / x.shape[0] if w is None else x.float() * gradient * 2 * w[:, None]).to(g.dtype))

    def combine(self, parts):
        return torch.stack([factor * gradient for factor, gradient in parts]).sum(0)
