"""An attribution of another package: the weights that the recipe gave. See docs/extending.md."""

from underpaint.explanation.attribution import Attribution, Method


def weights(basis):
    terms = {term.style_layer: term.weight for term in basis.run.objective.terms if term.style_layer}
    values = {layer: terms[layer] for layer in basis.layers}
    return Attribution("weight", values, "weight in the objective", "none (0)")


WEIGHT = Method(weights, page=9)
