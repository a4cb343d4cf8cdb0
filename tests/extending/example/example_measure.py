"""A measure of another package: how much darker the pastiche is than its content. See docs/extending.md."""

from underpaint.quality import Measure


def darker(beside):
    return float(beside.content.mean() - beside.image.mean())


DARKER = Measure("how much darker it is", "content", "near 1", -1, 1, darker)
