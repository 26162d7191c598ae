"""From words on a command line to a plan: everything is checked here, before anything starts."""

from __future__ import annotations

import itertools

import labkit
from labkit.cluster.plan import Plan
from labkit.engine.protocol import NO_DRAFT
from labkit.errors import KnobError, ModelError
from labkit.knobs import schema, turned
from labkit.methods import all_methods, build_law
from labkit.models import dtype_of, names, vocabulary
from labkit.prompts import heldout
from labkit.trace import Setting


def settings(methods: str, knobs: list[str]) -> tuple[list[Setting], list[str]]:
    """Every combination of "method.knob=value,value" for `methods` (names with commas between), and a short name for each.

    Raises `KnobError` on an unknown method, knob or value, and on a value that comes twice.
    """
    known = all_methods()
    chosen = [name.strip() for name in methods.split(",")]
    if unknown := [name for name in chosen if name not in known]:
        raise KnobError(f"There is no method {unknown[0]!r}: choose from {', '.join(sorted(known))}.")
    found, short = [], []
    for method, grid in turned(knobs, chosen).items():
        told = {knob.name: knob for knob in schema(known[method])}
        if wrong := [name for name in grid if name not in told]:
            has = ", ".join(told) or "none, it has no knobs"
            raise KnobError(f"{method} has no knob {wrong[0]!r}: choose one of {has}.")
        values = {name: [told[name].check(value.strip()) for value in text.split(",")] for name, text in grid.items()}
        for name, listed in values.items():
            if len(set(listed)) < len(listed):
                raise KnobError(f"{method}.{name} has a value twice: give each once.")
        for combination in itertools.product(*values.values()):
            own = dict(zip(values, combination))
            found.append(Setting(method, {name: own.get(name, knob.default) for name, knob in told.items()}))
            short.append(" ".join([method, *(f"{name}={value}" for name, value in own.items())]))
    return found, short


def plan(
    methods: str, knobs: list[str], prompts: int, tokens: int, temperatures: list[float], seeds: list[int],
    target: str, draft: str, dtype: str,
) -> Plan:  # fmt: skip
    """The checked plan of a sweep. Raises `LabError`, one sentence, on whatever no cell could be computed with."""
    listed, short = settings(methods, knobs)
    heldout(prompts)
    for temperature in temperatures:
        build_law(temperature, [])
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise KnobError(f"A seed is {seed}: choose whole numbers from 0 to {2**63 - 1}.")
    if len(set(temperatures)) < len(temperatures) or len(set(seeds)) < len(seeds):
        raise KnobError("A temperature or a seed comes twice: give each once.")
    if tokens < 1:
        raise KnobError(f"{tokens} new tokens are asked for: choose at least 1.")
    target, draft = names(target, draft)
    vocabulary(target)
    needy = next((setting.name for setting in listed if all_methods()[setting.name].drafts == "model"), "")
    if needy and draft == NO_DRAFT:
        raise ModelError(f"{needy} needs a draft model and {target!r} has none: give --draft, or leave {needy} out.")
    kind = str(dtype_of(dtype)).removeprefix("torch.")
    return Plan(
        settings=listed, names=short, prompts=prompts, tokens=tokens, temperatures=temperatures, seeds=seeds, target=target,
        draft=draft, dtype=kind, labkit=labkit.__version__,
    )  # fmt: skip
