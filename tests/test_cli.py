"""The command line as outside checks use it: JSON out, one sentence and code 2 for what can be mended."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from labkit import cli, trace

PROMPT = "def read_config(path):\n"


@pytest.fixture
def labkit(monkeypatch, capsys):
    """Runs `labkit …` in this process; returns exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labkit", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_papers(labkit):
    code, out, _ = labkit("papers", "--json")
    papers = json.loads(out)
    assert code == 0
    assert len(papers) == 185
    assert set(papers[0]) == {"id", "title", "name", "theme", "kind", "year", "code", "working", "by"}
    working = {paper["id"] for paper in papers if paper["working"]}
    assert "P025" in working
    assert working == {paper["id"] for paper in json.loads(labkit("papers", "--working", "--json")[1])}


def test_papers_of_a_theme(labkit):
    listed = json.loads(labkit("papers", "--theme", "diffusion", "--json")[1])
    assert {paper["theme"] for paper in listed} == {"diffusion"}
    code, _, err = labkit("papers", "--theme", "knitting")
    assert (code, "'knitting'" in err, "sampling" in err) == (2, True, True)


def test_methods(labkit):
    methods = {method["name"]: method for method in json.loads(labkit("methods", "--json")[1])}
    assert {"plain", "chain", "lookup", "token-recycling"} <= set(methods)
    knob = next(knob for knob in methods["chain"]["knobs"] if knob["name"] == "length")
    assert {"kind", "default", "low", "high", "help", "unit"} <= set(knob)
    assert methods["plain"]["lossless"] is True


def test_models(labkit):
    models = {model["name"]: model for model in json.loads(labkit("models", "--json")[1])}
    assert models["lab-target"]["role"] == "target"
    assert models["lab-draft"]["vocabulary"] == models["lab-target"]["vocabulary"] == 4096


@pytest.mark.parametrize("command", ["papers", "methods", "models"])
def test_tables_are_for_people(labkit, command):
    code, out, _ = labkit(command)
    assert code == 0
    assert not out.lstrip().startswith(("[", "{"))


def test_decode(labkit, tmp_path):
    saved = tmp_path / "run.json"
    arguments = ["decode", "--method", "chain", "--set", "length=3", "--prompt", PROMPT, "--max-new-tokens", "12"]
    code, out, _ = labkit(*arguments, "--dtype", "float64", "--trace", str(saved), "--json")
    result = json.loads(out)
    assert code == 0
    assert list(result) == ["ids", "text", "steps", "cost"]
    assert set(result["cost"]) == {"target_forwards", "target_tokens", "draft_forwards", "draft_tokens", "seconds"}
    assert len(result["ids"]) == 12
    assert result["cost"]["draft_forwards"] > 0
    whole = trace.load(saved)
    assert (whole.ids, len(whole.steps), whole.closing.text) == (result["ids"], result["steps"], result["text"])
    assert whole.opening.request.knobs["length"] == 3
    arguments = ["decode", "--prompt", PROMPT, "--max-new-tokens", "12", "--dtype", "float64", "--json"]
    plain = json.loads(labkit(*arguments)[1])
    assert plain["ids"] == result["ids"]
    assert plain["steps"] == plain["cost"]["target_forwards"] == 12


def test_decode_with_transforms_is_seeded(labkit, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT)
    arguments = ["decode", "--prompt-file", str(file), "--max-new-tokens", "16", "--temperature", "1.5"]
    arguments += ["--top-k", "40", "--top-p", "0.95", "--min-p", "0.01", "--top-h", "0.9", "--json", "--seed"]
    one, again, other = (json.loads(labkit(*arguments, seed)[1])["ids"] for seed in ("1", "1", "2"))
    assert one == again != other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --prompt or --prompt-file"),
        (["--prompt", "a", "--prompt-file", "b"], "either --prompt or --prompt-file"),
        (["--prompt", ""], "The prompt is empty"),
        (["--prompt-file", "no/such/file"], "'no/such/file'"),
        (["--prompt", "a", "--method", "magic"], "'magic'"),
        (["--prompt", "a", "--method", "chain", "--set", "length"], "knob=value"),
        (["--prompt", "a", "--method", "chain", "--set", "length=99"], "outside its range"),
        (["--prompt", "a", "--method", "chain", "--set", "colour=1"], "'colour'"),
        (["--prompt", "a", "--temperature", "-1"], "temperature"),
        (["--prompt", "a", "--top-p", "2"], "outside its range"),
        (["--prompt", "a", "--top-h", "0"], "Top-H is 0, outside its range"),
        (["--prompt", "a", "--max-new-tokens", "0"], "at least 1"),
        (["--prompt", "a", "--max-new-tokens", "9999"], "the model holds"),
        (["--prompt", "a", "--dtype", "int3"], "'int3'"),
        (["--prompt", "a", "--target", "./nowhere"], "'./nowhere'"),
        (["--prompt", "a", "--max-new-tokens", "1", "--trace", "no/such/folder/run.json"], "'no/such/folder/run.json'"),
    ],
)
def test_bad_input_is_one_sentence(labkit, arguments, said):
    code, out, err = labkit("decode", *arguments, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("labkit: ")
    assert err.count("\n") == 1
    assert said in err


BENCHES = ["decode", "speculative", "sampling", "growth", "ui"]
COMMANDS = ["papers", "methods", "models", "decode", "view", "train", "lab", "notebook", "engine"]


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["bench", name] for name in BENCHES])
def test_help_has_an_example(labkit, command):
    code, out, _ = labkit(*command, "--help")
    assert code == 0
    assert "Example" in out
    assert "labkit " + " ".join(command) in " ".join(out.replace("│", " ").split())


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = "import sys, labkit.cli; print({'torch', 'numpy', 'voila', 'plotly', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
