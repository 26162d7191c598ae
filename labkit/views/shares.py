"""The drafts of AdaSPEC's contest: what they are called, and how their lines look."""

from __future__ import annotations


def named(name: str) -> str:
    """What a person calls a draft of the contest."""
    if name.startswith("share "):
        share = float(name.removeprefix("share "))
        return "plain: all tokens" if share == 1 else f"keeps {100 * share:.0f} %"
    return {"reference": "reference", "longer": "plain, the steps of both phases"}[name]


def looks(names: list[str], share: float, ink: dict[str, str]) -> dict[str, dict]:
    """The line of every draft: the chosen share is the blue one."""
    lines = {
        "reference": {"color": ink["ink-3"], "width": 2, "dash": "6px,4px"},
        "longer": {"color": ink["ink-3"], "width": 2, "dash": "2px,3px"},
        "share 1": {"color": ink["ink"], "width": 2},
        f"share {share:g}": {"color": ink["draft"], "width": 3},
    }
    others = {"color": ink["e4"], "width": 2, "dash": "9px,3px,2px,3px"}
    return {name: lines.get(name, others) for name in names}
