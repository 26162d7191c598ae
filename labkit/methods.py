"""What a method is, and where the lab finds them: a paper's mechanism is a dataclass of knobs plus one generator.

To add one, copy the nearest file in its theme's folder. Every module of every theme is imported once, on the first look-up;
a class with a `name` is registered, and the bench, the command line, the catalogue and the contract tests find it by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Iterator

import torch
from torch import Tensor

from labkit.engine.protocol import MethodInfo, TransformInfo
from labkit.errors import KnobError
from labkit.knobs import build, schema
from labkit.law import Law
from labkit.lm import Session
from labkit.trace import Setting, Step

MOST_TRANSFORMS = 16  # each acts on every law of every step
COLDEST = 0.001  # below, logits divided by the temperature leave the range of float32
THEMES = ("sampling", "speculative", "attention", "tokenization", "diffusion", "visual", "reduction")


@dataclass
class Method:
    """Token ids in, steps out: no widget, no tokenizer, no printing. Randomness comes only from the generator passed in.

    `steps` goes on for ever; `labkit.run` stops it at the length asked for or at the end of text.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""  # its id in data/papers.toml; "" = nobody's paper in the catalogue
    lossless: ClassVar[bool] = True
    drafts: ClassVar[str] = ""  # "" = proposes nothing, "model" = needs a draft model, "free" = drafts without one
    writes: ClassVar[bool] = True  # False: a study, whose steps emit no text
    charts: ClassVar[tuple[str, ...]] = ()  # names of the views in `labkit.views` that draw its own notes
    leaf: ClassVar[str] = ""  # of its theme's taxonomy, where that has one; its words stand with the menu that they order

    def steps(self, session: Session, rng: torch.Generator) -> Iterator[Step]:
        raise NotImplementedError


@dataclass
class Study(Method):
    """An experiment over many runs, or over a batch: its steps emit no text, each carries in `notes` what is known so far.

    Its `charts` draw them; notes "done" and "of", where known, are its progress. `session` stands behind the request's prompt;
    `session.open(ids)` starts others that count into the same ledger. `steps` ends when the study does; a step should take
    well under a second, so that it can be stopped and others get their turn.
    """

    writes = False


@dataclass
class Transform:
    """A change of the next-token distribution, stackable and pure: logits [..., V] in, logits out, cut tokens at -inf."""

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""

    def __call__(self, logits: Tensor) -> Tensor:
        raise NotImplementedError


def _subclasses(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


@cache
def _import_themes() -> None:
    for theme in THEMES:
        try:
            package = importlib.import_module(f"labkit.{theme}")
        except ModuleNotFoundError as missing:
            if missing.name != f"labkit.{theme}":  # a broken import inside a theme must not pass for an absent theme
                raise
            continue
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"labkit.{theme}.{module.name}")


def registered(base: type) -> dict[str, type]:
    """Every class of the themes that has a `name` of its own and is a kind of `base`, by name."""
    _import_themes()
    return {cls.name: cls for cls in _subclasses(base) if cls.__dict__.get("name") and cls.__module__.startswith("labkit.")}


def all_methods() -> dict[str, type[Method]]:
    """Every registered method that decodes, by name."""
    return {name: cls for name, cls in registered(Method).items() if cls.writes}


def all_studies() -> dict[str, type[Study]]:
    """Every registered study by name."""
    return {name: cls for name, cls in registered(Method).items() if not cls.writes}


def all_transforms() -> dict[str, type[Transform]]:
    """Every registered transform by name."""
    return registered(Transform)


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0]


def method_info(cls: type[Method]) -> MethodInfo:
    """A method as plain data."""
    theme = cls.__module__.split(".")[1]
    more = (cls.paper, cls.lossless, cls.drafts, cls.charts, not cls.writes, cls.leaf)
    return MethodInfo(cls.name, cls.title, theme, _summary(cls), schema(cls), *more)


def transform_info(cls: type[Transform]) -> TransformInfo:
    """A transform as plain data."""
    return TransformInfo(cls.name, cls.title, _summary(cls), schema(cls), cls.paper)


def build_method(name: str, knobs: dict) -> Method:
    """The method or study `name` with checked knobs. Raises `KnobError`."""
    methods = registered(Method)
    if name not in methods:
        raise KnobError(f"There is no method {name!r:.60}: choose one of {', '.join(sorted(methods))}.")
    return build(methods[name], knobs)


def check_seed(seed: int) -> None:
    """Raise `KnobError` when `seed` is none that the generators take."""
    if not 0 <= seed < 2**63:
        raise KnobError(f"The seed is {seed}: choose a whole number from 0 to {2**63 - 1}.")


def build_law(temperature: float, transforms: list[Setting]) -> Law:
    """Temperature and the stack of transforms, all checked. Raises `KnobError`."""
    if not (temperature == 0 or COLDEST <= temperature <= 5):
        raise KnobError(f"The temperature is {temperature!r}: choose 0 (greedy) or a value from {COLDEST} to 5.")
    if len(transforms) > MOST_TRANSFORMS:
        raise KnobError(f"{len(transforms):,} transforms are asked for: choose {MOST_TRANSFORMS} at most.")
    known = all_transforms()
    for setting in transforms:
        if setting.name not in known:
            raise KnobError(f"There is no transform {setting.name!r:.60}: choose one of {', '.join(sorted(known))}.")
    return Law(temperature, tuple(build(known[setting.name], setting.knobs) for setting in transforms))
