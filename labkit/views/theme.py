"""The one place for colours and fonts outside the page: the style sheet has the same, and a test compares them."""

from __future__ import annotations

from typing import Any, Iterable

from labkit.errors import LabError

# fmt: off
LIGHT = {
    "ground": "#f5f5f1", "paper": "#ffffff", "sunk": "#eeeee9", "line": "#dcdcd5", "edge": "#85857d",
    "ink": "#1b1d21", "ink-2": "#45484f", "ink-3": "#62656d", "draft": "#0072b2", "draft-ink": "#005a8d",
    "draft-tint": "#e2eff8", "on-draft": "#ffffff", "target": "#e69f00", "target-edge": "#a26c00",
    "target-ink": "#7a5200", "target-tint": "#fcefd0", "on-target": "#1b1d21", "refuse": "#d55e00",
    "refuse-ink": "#a04300", "refuse-tint": "#fcebdf", "here": "#8f3a6e", "ghost": "#d3d3cc", "ghost-ink": "#62656d",
    "e0": "#ffffff", "e1": "#f8f6d3", "e2": "#cfe9a2", "e3": "#7fd08f", "e4": "#2fae8e", "e5": "#365c8d",
    "e6": "#440154", "on-e0": "#1b1d21", "on-e1": "#1b1d21", "on-e2": "#1b1d21", "on-e3": "#1b1d21",
    "on-e4": "#101214", "on-e5": "#ffffff", "on-e6": "#ffffff",
}
DARK = {
    "ground": "#131519", "paper": "#1a1d22", "sunk": "#24282f", "line": "#343943", "edge": "#7b818d",
    "ink": "#eceef0", "ink-2": "#bdc1c9", "ink-3": "#9aa0ab", "draft": "#56b4e9", "draft-ink": "#8ccbf0",
    "draft-tint": "#16354a", "on-draft": "#0b1620", "target": "#efb032", "target-edge": "#efb032",
    "target-ink": "#f5c76b", "target-tint": "#3b2f12", "on-target": "#191509", "refuse": "#f58a4b",
    "refuse-ink": "#ffab78", "refuse-tint": "#402618", "here": "#e79ac6", "ghost": "#454b56", "ghost-ink": "#a2a8b3",
    "e0": "#1a1d22", "e1": "#372a5e", "e2": "#38508a", "e3": "#27737f", "e4": "#1fa187", "e5": "#7ad151",
    "e6": "#fde725", "on-e0": "#eceef0", "on-e1": "#ffffff", "on-e2": "#ffffff", "on-e3": "#ffffff",
    "on-e4": "#08110e", "on-e5": "#08110e", "on-e6": "#16130a",
}
# fmt: on
THEMES = {"light": LIGHT, "dark": DARK}
UI_FONT = 'Inter, "Segoe UI Variable Text", "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif'
CODE_FONT = '"JetBrains Mono", "Cascadia Code", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace'
ENTROPY_EDGES = (0.1, 0.4, 0.8, 1.2, 2.0, 3.0)  # nats; between them lie the classes e0 ... e6


def colours(theme: str) -> dict[str, str]:
    """Colour tokens by name. Raises `LabError` on an unknown theme."""
    if theme not in THEMES:
        raise LabError(f"There is no theme {theme!r}: choose light or dark.")
    return THEMES[theme]


def entropy_class(nats: float) -> int:
    """The class of an entropy in nats, 0 (sure) to 6 (3 nats and more)."""
    return sum(nats >= edge for edge in ENTROPY_EDGES)


def hatched(line: str, fill: str, shape: str = "/") -> dict[str, Any]:
    """A bar's marker told by more than its colour: `line` around `fill` and over it, in one of plotly's pattern shapes."""
    pattern = {"shape": shape, "fgcolor": line, "bgcolor": fill, "size": 6, "solidity": 0.2, "fillmode": "replace"}
    return {"color": fill, "pattern": pattern, "line": {"color": line, "width": 1}}


def template(theme: str) -> dict[str, Any]:
    """A plotly template made of the tokens."""
    ink = colours(theme)
    axis = {
        "gridcolor": ink["line"],
        "linecolor": ink["edge"],
        "zerolinecolor": ink["edge"],
        "tickcolor": ink["edge"],
        "tickfont": {"size": 12, "color": ink["ink-3"]},
        "title": {"font": {"size": 12, "color": ink["ink-2"]}},
        "zeroline": False,
        "automargin": True,
    }
    return {
        "layout": {
            "font": {"family": UI_FONT, "size": 12, "color": ink["ink-2"]},
            "title": {"font": {"size": 16, "color": ink["ink"]}, "x": 0, "xanchor": "left", "xref": "paper"},
            "paper_bgcolor": ink["paper"],
            "plot_bgcolor": ink["paper"],
            "colorway": [ink[name] for name in ("draft", "target", "refuse", "here", "e4", "e5")],
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 48, "r": 12, "t": 44, "b": 44},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
            "hoverlabel": {
                "bgcolor": ink["paper"],
                "bordercolor": ink["edge"],
                "font": {"family": UI_FONT, "size": 12, "color": ink["ink"]},
            },
        }
    }


def whiskers(ink: dict[str, str], spans: Iterable[tuple[float, float, float]]) -> dict:
    """`error_y` of a plotly trace; a span is (low, value, high)."""
    spans = list(spans)
    up, down = [high - value for _, value, high in spans], [value - low for low, value, _ in spans]
    look = {"color": ink["ink"], "thickness": 1.5, "width": 4}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, **look}


def written(ink: dict[str, str], words: list[str], side: str, family: str) -> dict[str, Any]:
    """A plotly scatter of nothing but `words`, on one `side` ("left", "right") of their places; x and y come beside it."""
    font = {"family": family, "size": 12, "color": ink["ink"]}
    look = {"mode": "text", "textposition": f"middle {side}", "textfont": font}
    return {"text": words, **look, "showlegend": False, "hoverinfo": "skip"}


def whole(count: int, most: int = 12) -> dict[str, int]:
    """Ticks for an axis that counts up to `count`: whole numbers only, about `most` of them at most."""
    return {"dtick": 1 + count // most}


def nats(title: str) -> dict[str, Any]:
    """A logarithmic plotly axis for divergences from 10^-6 nats, where smaller ones are drawn, to 30."""
    ticks = {"tickvals": [1e-6, 1e-4, 0.01, 1], "ticktext": ["10⁻⁶", "10⁻⁴", "0.01", "1"]}
    return {"title": title, "type": "log", "range": [-6.3, 1.5], **ticks}
