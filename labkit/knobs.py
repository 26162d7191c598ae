"""Knobs: dataclass fields that know their range, unit and help text; the bench, the command line and the checks read them.

    @dataclass
    class Chain(Method):
        length: int = knob(4, 1, 16, unit="tokens", help="how many tokens the draft writes before the target looks")

`schema(Chain)` lists them as plain data (`Knob`), `build(Chain, {"length": 6})` makes a checked instance.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec

from labkit.errors import KnobError

Value = bool | int | float | str


class Knob(msgspec.Struct, frozen=True, omit_defaults=True):
    """One knob as plain data.

    `kind` is "int", "float", "bool" or "choice". `low` and `high` are inclusive; `step` is what a slider moves by.
    `live`: its picture follows while it is dragged, since no model runs for it. `scale` is "linear" or "log".
    """

    name: str
    kind: str
    default: Value
    label: str = ""
    help: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    scale: str = "linear"

    def check(self, value: Any) -> Value:
        """Return `value` as this knob's type, or raise `KnobError` naming the value, the range and the mend."""
        name = self.label or self.name
        if self.kind == "bool":
            words = {"true": True, "false": False, "1": True, "0": False, "on": True, "off": False}
            if isinstance(value, str) and value.lower() in words:
                return words[value.lower()]
            if isinstance(value, bool):
                return value
            raise KnobError(f"{name} is {value!r:.60}, but it is a switch: set it to true or false.")
        if self.kind == "choice":
            if value in self.choices:
                return str(value)
            raise KnobError(f"{name} is {value!r:.60}: choose one of {', '.join(self.choices)}.")
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        span = f"from {self.low:g} to {self.high:g}{' ' + self.unit if self.unit else ''}"
        if not math.isfinite(number):
            raise KnobError(f"{name} is {value!r:.60}, which is no number: choose one {span}.")
        if self.kind == "int" and number != int(number):
            raise KnobError(f"{name} is {number:.12g}, but it counts whole things: choose a whole number {span}.")
        if not self.low <= number <= self.high:
            raise KnobError(f"{name} is {number:.12g}, outside its range: choose a value {span}.")
        return int(number) if self.kind == "int" else number


def knob(
    default: Value,
    low: float | None = None,
    high: float | None = None,
    *,
    help: str,
    label: str = "",
    unit: str = "",
    step: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    scale: str = "linear",
) -> Any:
    """A dataclass field with a range, a unit and a help text; see `Knob` for what each word means."""
    kind = "choice" if choices else {bool: "bool", int: "int", float: "float"}[type(default)]
    if step is None and kind in ("int", "float"):
        step = 1.0 if kind == "int" else (high - low) / 100
    spec = dict(kind=kind, label=label, help=help, unit=unit, low=low, high=high, step=step)
    spec.update(choices=tuple(choices), live=live, scale=scale)
    return dataclasses.field(default=default, metadata={"knob": spec})


def schema(cls: type) -> list[Knob]:
    """The knobs of a dataclass in the order they were written, its own before those it inherits."""
    knobs, own = [], vars(cls).get("__annotations__", {})
    for field in sorted(dataclasses.fields(cls), key=lambda field: field.name not in own):
        if spec := field.metadata.get("knob"):
            label = spec["label"] or field.name.replace("_", " ").capitalize()
            knobs.append(Knob(name=field.name, default=field.default, **{**spec, "label": label}))
    return knobs


def check(knobs: list[Knob], values: dict[str, Any]) -> dict[str, Value]:
    """Check `values` against `knobs`; return them all, defaults filled in. Raises `KnobError`."""
    known = {knob.name: knob for knob in knobs}
    for name in values:
        if name not in known:
            raise KnobError(f"There is no knob {name!r:.60}: choose one of {', '.join(known) or 'none, it has no knobs'}.")
    return {name: knob.check(values.get(name, knob.default)) for name, knob in known.items()}


def build(cls: type, values: dict[str, Any]) -> Any:
    """An instance of `cls` with checked knobs. Raises `KnobError` on an unknown name or a value out of range."""
    return cls(**check(schema(cls), values))


def turned(settings: list[str], methods: list[str]) -> dict[str, dict[str, str]]:
    """What "method.knob=value" settings say, still as text, for each of `methods`; those that no setting names have {}.

    Raises `KnobError` on a setting of another form, or of another method.
    """
    knobs: dict[str, dict[str, str]] = {name: {} for name in methods}
    for setting in settings:
        name, dot, rest = setting.partition(".")
        knob, equals, value = rest.partition("=")
        if not (dot and equals):
            raise KnobError(f"--set {setting!r} sets nothing: write it as method.knob=value.")
        if name not in knobs:
            raise KnobError(f"--set {setting!r} is for a method that does not play: choose from {', '.join(knobs)}.")
        knobs[name][knob] = value
    return knobs
