"""The study of P179: how often the name behind a dot exists, and is the one that was written, with a monitor and without."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labkit.knobs import knob
from labkit.lm import Session
from labkit.methods import Study
from labkit.prompts import attributes
from labkit.sampling.members import shared
from labkit.sampling.monitor import Monitor, Monitored, heads_of
from labkit.trace import Step

LONGEST = 32  # tokens of a name
_NAME = re.compile(r"\w*")


@dataclass
class AttributeNames(Study):
    """Does the name behind a dot exist, and is it the one that the file has there (P179)?

    Held-out files, cut at a dot behind `self` or a standard module. Target and draft write the name, free and under the
    monitor; jedi sees the file without the function that is being written, as an editor would. Places where jedi knows no
    name are counted apart: there both ways are the same. The paper judges whole methods by compiling them; ours, one name. At
    48 places the target's name exists 39 times without the monitor and always with it, the draft's 19 times; which of the names
    is meant the monitor cannot know, and the share of right ones hardly moves (the target's 24 become 22, the draft's 9 stay).
    """

    name, title, paper, drafts = "attribute-names", "Names that exist", "P179", "model"
    charts = ("attribute_names",)
    places: int = knob(48, 4, 48, unit="places", help="held-out, one a step")

    def steps(self, session, rng):
        counts: dict[str, list[int]] = {}
        known, held, latest = 0, 0, {}
        for done, place in enumerate(attributes()[: self.places], 1):
            names = shared().ask(place["before"], place["after"]) or ()
            if names:
                known, held = known + 1, held + (place["name"] in names)
                latest = {
                    "line": place["before"].rpartition("\n")[2].strip()[-60:],
                    "name": place["name"],
                    "written": {},
                }
                ids = session.vocabulary.encode(place["before"])
                ids = ids[-(session.runner.context - LONGEST) :]
                other = session.open(ids)
                for who, model in (("target", other), ("draft", other.draft)):
                    model.vocabulary, model.ends = session.vocabulary, session.ends
                    for how, offered in (("free", ()), ("monitor", names)):
                        name = written(model.fork()[0], offered, rng)
                        exists, match = counts.setdefault(f"{who}, {how}", [0, 0])
                        counts[f"{who}, {how}"] = [exists + (name in names), match + (name == place["name"])]
                        latest["written"][f"{who}, {how}"] = name
            notes = {"done": done, "of": self.places, "known": known, "held": held}
            yield Step(emitted=[], notes=notes | {"counts": dict(counts), "latest": latest})


def written(session: Session, names: tuple[str, ...], rng) -> str:
    """The identifier that the model writes behind the dot at the end of its context; `names` = () lets everything pass."""
    heads = heads_of(session)
    monitor = Monitor(heads, lambda text: names, b".")
    for _, _ in zip(range(LONGEST), Monitored().under(monitor, session, rng)):
        name = _NAME.match(monitor.text[1:].decode(errors="replace")).group()
        if len(name) < len(monitor.text) - 1:
            break
    return name
