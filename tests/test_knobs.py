"""Knobs: what a dataclass says of itself, and what a wrong value is told."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from labkit.errors import KnobError
from labkit.knobs import Knob, build, check, knob, schema
from labkit.methods import all_methods, all_transforms


@dataclass
class Kettle:
    cups: int = knob(2, 1, 8, unit="cups", help="how much water")
    heat: float = knob(0.5, 0.0, 1.0, help="how hot", step=0.1, label="Heat of it", scale="log", live=True)
    whistle: bool = knob(True, help="make a noise")
    tea: str = knob("green", choices=("green", "black"), help="which one")
    serial: int = 7  # no knob


def test_schema_lists_the_knobs_in_order():
    cups, heat, whistle, tea = schema(Kettle)
    assert cups == Knob("cups", "int", 2, "Cups", "how much water", "cups", 1, 8, 1.0)
    assert heat == Knob("heat", "float", 0.5, "Heat of it", "how hot", "", 0.0, 1.0, 0.1, (), True, "log")
    assert (whistle.kind, whistle.default) == ("bool", True)
    assert (tea.kind, tea.choices) == ("choice", ("green", "black"))


def test_a_schema_travels_as_json():
    for cls in (Kettle, *all_methods().values(), *all_transforms().values()):
        assert msgspec.json.decode(msgspec.json.encode(schema(cls)), type=list[Knob]) == schema(cls)


def test_build_checks_and_fills_in():
    assert build(Kettle, {}) == Kettle()
    made = build(Kettle, {"cups": 3.0, "heat": 1, "whistle": "off", "tea": "black"})
    assert made == Kettle(3, 1.0, False, "black")
    assert [type(value) for value in (made.cups, made.heat, made.whistle)] == [int, float, bool]
    assert check(schema(Kettle), {"cups": 8}) == {"cups": 8, "heat": 0.5, "whistle": True, "tea": "green"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"cups": 9}, "Cups is 9, outside its range: choose a value from 1 to 8 cups."),
        ({"cups": 0}, "Cups is 0, outside its range: choose a value from 1 to 8 cups."),
        ({"cups": 2.5}, "Cups is 2.5, but it counts whole things: choose a whole number from 1 to 8 cups."),
        ({"cups": "many"}, "Cups is 'many', which is no number: choose one from 1 to 8 cups."),
        ({"cups": True}, "Cups is True, which is no number: choose one from 1 to 8 cups."),
        ({"cups": None}, "Cups is None, which is no number: choose one from 1 to 8 cups."),
        ({"heat": float("nan")}, "Heat of it is nan, which is no number: choose one from 0 to 1."),
        ({"heat": float("inf")}, "Heat of it is inf, which is no number: choose one from 0 to 1."),
        ({"heat": 10**400}, f"Heat of it is 1{'0' * 59}, which is no number: choose one from 0 to 1."),
        ({"heat": [1]}, "Heat of it is [1], which is no number: choose one from 0 to 1."),
        ({"heat": 1.0000001}, "Heat of it is 1.0000001, outside its range: choose a value from 0 to 1."),
        ({"whistle": 1}, "Whistle is 1, but it is a switch: set it to true or false."),
        ({"whistle": "loud"}, "Whistle is 'loud', but it is a switch: set it to true or false."),
        ({"tea": "milk"}, "Tea is 'milk': choose one of green, black."),
        ({"tea": ["green"]}, "Tea is ['green']: choose one of green, black."),
        ({"serial": 8}, "There is no knob 'serial': choose one of cups, heat, whistle, tea."),
        ({"__class__": 8}, "There is no knob '__class__': choose one of cups, heat, whistle, tea."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value_is_told_its_mend(values, sentence):
    with pytest.raises(KnobError) as caught:
        build(Kettle, values)
    assert str(caught.value) == sentence


def test_something_without_knobs_says_so():
    with pytest.raises(KnobError, match="There is no knob 'x': choose one of none, it has no knobs."):
        check([], {"x": 1})


ANYTHING = some.none() | some.booleans() | some.integers() | some.floats() | some.text() | some.lists(some.integers())


@given(some.dictionaries(some.sampled_from(["cups", "heat", "whistle", "tea", "other"]), ANYTHING))
def test_build_makes_a_valid_one_or_says_why_not(values):
    try:
        made = build(Kettle, values)
    except KnobError:
        return
    assert 1 <= made.cups <= 8
    assert 0 <= made.heat <= 1
    assert made.whistle in (True, False)
    assert made.tea in ("green", "black")


@pytest.mark.parametrize("cls", [*all_methods().values(), *all_transforms().values()], ids=lambda cls: cls.name)
def test_every_registered_default_is_inside_its_range(cls):
    assert build(cls, {knob.name: knob.default for knob in schema(cls)}) == cls()
    for item in schema(cls):
        assert item.help
        assert item.kind in ("bool", "choice") or item.low < item.high
