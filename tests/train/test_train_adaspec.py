"""The long run of AdaSPEC: whole curves for every seed, and a run that was stopped goes on with the next seed."""

import json

import pytest

from labkit.parts import fingerprint
from labkit.paths import DATA
from labkit.speculative.adaspec import long_run
from labkit.train import adaspec


def prepared(patch, folder, token_set):
    """The folder of a small run: both models, a cache of its own, few windows."""
    for role in ("target", "draft"):
        (folder / role).symlink_to(DATA / "models" / role)
    patch.setenv("LABKIT_CACHE", str(folder / "cache"))
    patch.setattr(adaspec, "load_tokens", lambda tokenizer: token_set)
    patch.setattr(adaspec, "WINDOWS", 8)
    patch.setattr(adaspec, "HELD_OUT", 2)
    patch.setattr(adaspec, "LOOK_EVERY", 2)
    return folder


@pytest.fixture
def small(monkeypatch, tmp_path, token_set):
    return prepared(monkeypatch, tmp_path, token_set)


def train(folder, report=lambda line: None, **choices):
    file = adaspec.train_adaspec(folder, **{"steps": 3, "seeds": 1, **choices}, report=report)
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory, token_set):
    """A run that nobody stopped."""
    with pytest.MonkeyPatch.context() as patch:
        return train(prepared(patch, tmp_path_factory.mktemp("whole"), token_set))


def test_curves_and_going_on(small):
    first = train(small)
    (seed,) = first["seeds"]
    assert seed.keys() == {"reference", "share 0.2", "share 0.4", "share 1", "longer"}
    assert seed["reference"][0] == [0, 2, 3] and seed["longer"][0] == [3, 4, 6] and seed["share 0.4"][0] == [0, 1, 3]
    assert seed["longer"][1][0] == seed["reference"][1][-1]
    again = train(small, seeds=2)
    assert again["seeds"][0] == seed and len(again["seeds"]) == 2 and again["seeds"][1] != seed
    assert len(train(small, seeds=1, steps=2)["seeds"]) == 1, "other settings begin anew"


@pytest.mark.parametrize("stop", ["step 2 of", "step 4 of"])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(stop, small, whole):
    def stops(line):
        if stop in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small, stops)
    assert not (small / "adaspec.json").exists()
    said = []
    assert train(small, said.append) == whole
    assert not any(stop in line for line in said), "what was done is not done again"
    assert not list((small / "cache" / "train").iterdir()), "a finished run leaves no checkpoint"


def test_bad_numbers_are_named(small):
    with pytest.raises(ValueError, match="steps is 0"):
        train(small, steps=0)


def test_curves_belong_to_the_models_they_were_made_with(tmp_path, monkeypatch):
    file = tmp_path / "adaspec.json"
    monkeypatch.setattr("labkit.speculative.adaspec.LONG_RUN", file)
    assert long_run("lab-target", "lab-draft") is None, "no long run is shipped: the page shows the live one alone"
    models = {"target": fingerprint("lab-target"), "draft": fingerprint("lab-draft")}
    file.write_text(json.dumps({"models": models, "seeds": []}))
    assert long_run("lab-target", "lab-draft")["seeds"] == []
    assert long_run("lab-draft", "lab-draft") is None
