"""Calls that mypy checks and nobody runs: a keyword that is misspelt, or a choice that is none, is found before it is tried.

Where an error is expected and not found, mypy says that its `type: ignore` is not used.
"""

import underpaint


def right() -> None:
    """Every function that takes keywords."""
    underpaint.stylize("a.jpg", "b.jpg", size=64, network="vgg19", style_layers={"relu1_1": 1.0}, device="cpu", out="out")
    underpaint.start("a.jpg", ["b.jpg", "c.jpg"], style_weights=(2, 1), weights="vgg19.h5", iterations=[3, 4])
    underpaint.explain("a.jpg", "b.jpg", out="out", seeds=2, check_sanity=True, seed=1, protect="faces")
    underpaint.ablate("a.jpg", "b.jpg", out="out", configs=["all"], judge="vgg19", preset="draft")
    underpaint.carry_on("run", 128, out="out", strength=0.7, frames=3)


def wrong() -> None:
    """One mistake each."""
    underpaint.stylize("a.jpg", "b.jpg", sise=64)  # type: ignore[call-arg]
    underpaint.start("a.jpg", "b.jpg", pooling="sum")  # type: ignore[arg-type]
    underpaint.explain("a.jpg", "b.jpg", out="out", seed="one")  # type: ignore[arg-type]
    underpaint.ablate("a.jpg", "b.jpg", out="out", config=["all"])  # type: ignore[call-arg]
    underpaint.carry_on("run", 128, out="out", crop="no")  # type: ignore[arg-type]
