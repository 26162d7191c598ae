"""Swim lanes: what draft and target do at every moment of the virtual clock, in PEARL and in ordinary speculation."""

from __future__ import annotations

import plotly.graph_objects as go

from labkit.trace import Trace
from labkit.views import read
from labkit.views import theme as themes

COLUMNS = ("run", "lane", "begin", "end", "what")
ROUNDS = 8  # shown: the latest ones
LANES = (("PEARL", "draft"), ("PEARL", "target"), ("ordinary", "draft"), ("ordinary", "target"))
VERIFIED, WASTED, OPEN, CHECK = "verified", "wasted", "still open", "target call"


def rows(trace: Trace, upto: int | None = None) -> list[tuple]:
    """One row a thing done: whose run, which lane, from when to when (in target calls), and what it was.

    Drafted tokens of one block that met the same fate share a row; its last column says how many there were.
    """
    notes = [step.notes for step in read.steps(trace, upto) if "drafts" in step.notes]
    fate: dict[int, list[int]] = {}
    for note in notes:
        for block, kept, wasted in note["decided"]:
            known = fate.setdefault(block, [0, 0])
            known[0], known[1] = known[0] + kept, known[1] + wasted
    found: list[tuple] = []
    for note in notes:
        for block, begin, end, tokens in note["drafts"]:
            kept, wasted = fate.get(block, (0, 0))
            found += _block("PEARL", begin, (end - begin) / tokens, kept, wasted, tokens - kept - wasted)
        begin, end, tested, kept = note["verify"]
        found.append(("PEARL", "target", begin, end, f"{CHECK}, {note['mode']} {kept}/{tested}"))
        for begin, drafted, end, kept in note["ordinary"]["rounds"]:
            gamma = note["gamma"]
            found += _block("ordinary", begin, (drafted - begin) / gamma, kept, gamma - kept, 0)
            found.append(("ordinary", "target", drafted, end, f"{CHECK}, {kept}/{gamma}"))
    return sorted(found, key=lambda row: (LANES.index(row[:2]), row[2]))


def _block(run: str, begin: float, unit: float, *fates: int) -> list[tuple]:
    """The rows of one drafted block: first what was verified, then what was wasted, then what is open."""
    found = []
    for what, tokens in zip((VERIFIED, WASTED, OPEN), fates):
        if tokens:
            found.append((run, "draft", begin, begin + tokens * unit, f"{what}: {tokens}"))
            begin += tokens * unit
    return found


def swimlanes(trace: Trace, upto: int | None = None, *, theme: str = "light") -> go.Figure:
    """Two lanes of PEARL above two of ordinary speculation over the same text, on one clock; the last rounds only."""
    ink = themes.colours(theme)
    notes = [step.notes for step in read.steps(trace, upto) if "drafts" in step.notes]
    table = rows(trace, upto)
    figure = go.Figure(layout={"template": {}, "title": "Who works when?"})
    figure.update_layout(meta={"words": _words(trace, upto, notes), "height": 340})
    if not notes:
        return figure
    begin, end = notes[-ROUNDS:][0]["verify"][0], notes[-1]["now"]
    seen = [row for row in table if row[3] > begin and row[2] < end]
    looks = {
        VERIFIED: {"color": ink["draft"], "line": {"color": ink["paper"], "width": 1}},
        WASTED: themes.hatched(ink["refuse"], ink["refuse-tint"]),
        OPEN: themes.hatched(ink["draft"], ink["draft-tint"], "."),
        CHECK: {"color": ink["target"], "line": {"color": ink["target-edge"], "width": 1}},
    }
    for what, marker in looks.items():
        mine = [row for row in seen if row[4].startswith(what)]
        figure.add_bar(
            orientation="h",
            y=[LANES.index(row[:2]) for row in mine],
            base=[row[2] for row in mine],
            x=[row[3] - row[2] for row in mine],
            marker=marker,
            name=what,
            width=0.72,
            text=[row[4].removeprefix(what).strip(":, ").replace(" ", "<br>") for row in mine],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="none",
            textfont={"size": 12, "color": ink["on-draft" if what == VERIFIED else "on-target" if what == CHECK else "ink"]},
            hovertext=[f"{row[0]}, {row[1]}: {row[4]}, from {row[2]:.2f} to {row[3]:.2f}" for row in mine],
            hoverinfo="text",
        )
    for note in notes[-ROUNDS:]:
        if note["next"] != note["mode"] and note["now"] <= end:
            line = {"color": ink["here"], "dash": "dot"}
            figure.add_shape(type="line", x0=note["now"], x1=note["now"], y0=-0.5, y1=1.5, line=line)
            words = {"text": f"→ {note['next']}", "font": {"size": 12, "color": ink["here"]}, "showarrow": False}
            side = "right" if note["now"] == end else "center"
            figure.add_annotation(x=note["now"], y=-0.5, xanchor=side, yanchor="bottom", **words)
    busy = _busy(table, notes)
    figure.update_layout(
        barmode="overlay",
        xaxis={"title": "time, in target calls", "range": [begin, end + 0.02 * (end - begin)], "showgrid": False},
        yaxis={
            "tickvals": list(range(len(LANES))),
            "ticktext": [f"{run}, {lane}<br>busy {busy[run, lane]:.0%}" for run, lane in LANES],
            "range": [len(LANES) - 0.4, -0.9],
            "showgrid": False,
        },
    )
    return figure


def _busy(table: list[tuple], notes: list[dict]) -> dict[tuple[str, str], float]:
    """The share of its run's time that each lane worked, from the beginning."""
    spans = {"PEARL": notes[-1]["now"], "ordinary": notes[-1]["ordinary"]["now"]}
    worked = dict.fromkeys(LANES, 0.0)
    for run, lane, begin, end, _ in table:
        worked[run, lane] += end - begin
    return {lane: time / spans[lane[0]] if spans[lane[0]] else 0.0 for lane, time in worked.items()}


def _words(trace: Trace, upto: int | None, notes: list[dict]) -> str:
    """Time a token on the virtual clock, and the seconds that the run really took."""
    tokens = sum(len(step.emitted) for step in read.steps(trace, upto))
    if not notes or not tokens:
        return "Nothing has happened yet."
    last, other = notes[-1], notes[-1]["ordinary"]
    against = f"ordinary speculation {other['now'] / other['tokens']:.2f}, " if other["tokens"] else ""
    really = 1000 * read.cost(trace, upto).seconds / tokens
    return (
        f"A token takes PEARL {last['now'] / tokens:.2f} target calls' time, {against}plain decoding 1 (γ = {last['gamma']}, c = "
        f"{last['c']:.3g}; measured here c = {last['c measured']:.3g}). In turns, in one thread, it really took {really:.1f} ms."
    )
