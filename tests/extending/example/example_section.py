"""A section of another package: the seed that a picture was painted with. See docs/extending.md."""

from underpaint.report.sections import Section


def seed(page):
    return {"seed": page.e.recipe.seed}


SEED = Section(("stylize", "explain"), seed, "<section><h2>The seed</h2><p>It began with seed {{ s.seed }}.</p></section>")
