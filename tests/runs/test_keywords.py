"""What can be given by name is spelt out once and is what recipe and options have."""

import inspect
from dataclasses import fields
from typing import Literal, get_origin, get_type_hints

import pytest

import underpaint
from underpaint import recipe
from underpaint.execution import cores
from underpaint.explanation import ablating, explaining
from underpaint.imaging import images
from underpaint.runs import keywords, options

OWN = {"recipe", "content_mask", "style_mask", "protect", "start_from", "options"}


def test_the_names_are_those_of_recipe_and_options():
    of_recipe, of_options = set(recipe.Recipe.model_fields), {field.name for field in fields(options.Options)}
    assert not of_recipe & of_options
    assert set(keywords.Fields.__annotations__) == of_recipe | of_options
    assert set(keywords.CarriedFields.__annotations__) == (of_recipe | of_options) - {"size"}
    assert set(keywords.Keywords.__annotations__) == of_recipe | of_options | OWN


def test_the_kinds_are_those_of_the_recipe():
    known = vars(recipe) | vars(images) | vars(options) | vars(cores)
    hints = get_type_hints(keywords.Fields, localns=known)
    for name, field in recipe.Recipe.model_fields.items():
        if field.annotation in (int, float, bool) or get_origin(field.annotation) is Literal:
            assert hints[name] == field.annotation, name


@pytest.mark.parametrize(
    ("function", "own"),
    [
        (underpaint.stylize, {"content", "style", "out"}),
        (underpaint.start, {"content", "style", "out"}),
        (underpaint.explain, {"content", "style", "out", "seeds", "judge", "check_sanity", "permutations"}),
        (explaining.start, {"content", "style", "out", "seeds", "judge", "check_sanity", "permutations"}),
        (underpaint.ablate, {"content", "style", "out", "configs", "judge"}),
        (ablating.start, {"content", "style", "out", "configs", "judge"}),
    ],
)
def test_a_signature_names_every_keyword(function, own):
    parameters = inspect.signature(function).parameters
    assert set(parameters) == own | set(keywords.Keywords.__annotations__)
    assert parameters["size"].kind is inspect.Parameter.KEYWORD_ONLY
    assert str(parameters["size"]) == "size: 'int' = ..."


def test_no_public_name_takes_whatever_it_is_given():
    functions = {name: getattr(underpaint, name) for name in underpaint.__all__}
    for name, function in functions.items():
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds or name == "UnderpaintError", name
    carried = inspect.signature(underpaint.carry_on).parameters
    assert set(carried) == {"folder", "out", "options"} | set(keywords.Fields.__annotations__)
