"""Names to models: every style loads through its own door; what cannot be loaded is said in one sentence, at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
import torch

from labkit import models
from labkit.errors import ModelError
from labkit.hf import HuggingFaceRunner
from labkit.llama import LlamaRunner
from labkit.lm import Session
from labkit.models import NO_DRAFT, SHIPPED, available, load

SHIPPED_FILES = SHIPPED["lab-draft"]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith("LABKIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the shipped draft, to be damaged."""
    return Path(shutil.copytree(SHIPPED_FILES, tmp_path / "model"))


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_every_style_loads_through_its_door(tiny_pair, request):
    style = request.node.callspec.params["tiny_pair"]
    kind = LlamaRunner if style in tiny_models.LEAN else HuggingFaceRunner
    assert type(tiny_pair.target) is type(tiny_pair.draft) is kind
    assert (tiny_pair.target.vocabulary, tiny_pair.target.context, tiny_pair.target.dtype) == (4096, 512, torch.float64)
    assert tiny_pair.ends == {0}
    exact = tiny_models.tiny(style)
    with torch.inference_mode():
        due = exact(torch.tensor([[70, 80, 90]])).logits[0, -1]
    torch.testing.assert_close(Session(tiny_pair.target, [70, 80, 90]).logits, due, rtol=0, atol=1e-4)


def test_the_shipped_pair(shipped32):
    assert (shipped32.target_name, shipped32.draft_name, shipped32.ends) == ("lab-target", "lab-draft", {0})
    assert shipped32.target.context == shipped32.draft.context == 2048
    assert isinstance(shipped32.target, LlamaRunner)


def test_available_reads_without_loading():
    target, draft, exits, long = available()
    assert (target.name, target.role, target.default) == ("lab-target", "target", True)
    assert (draft.name, draft.role, draft.default) == ("lab-draft", "draft", True)
    assert (exits.name, exits.role, exits.default) == ("lab-exits", "target", False)
    assert exits.parameters == target.parameters
    assert (long.name, long.context, long.parameters) == ("lab-long", 8704, target.parameters)
    shapes = {}
    for info in (target, draft, exits):
        config = json.loads((SHIPPED[info.name] / "config.json").read_text())
        shapes[info.name] = (config["num_hidden_layers"], config["hidden_size"], config["vocab_size"])
        assert (info.layers, info.width, info.vocabulary) == shapes[info.name]
    assert target.parameters > 5 * draft.parameters > 0


def test_the_target_that_learnt_to_exit():
    """The shipped target's weights with a trained part added: plain weights of the same shape, in every dtype."""
    assert models.names("lab-exits", "") == ("lab-exits", "lab-draft")
    made = {name: models.load_model(name, torch.device("cpu"), torch.float64) for name in ("lab-target", "lab-exits")}
    weights = {name: dict(model.named_parameters()) for name, model in made.items()}
    assert weights["lab-target"].keys() == weights["lab-exits"].keys()
    same = {key for key, weight in weights["lab-exits"].items() if torch.equal(weight, weights["lab-target"][key])}
    assert same == {"model.embed_tokens.weight"}, "every matrix and norm of the blocks learnt something"
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 0.01)):
        key = "model.layers.0.mlp.up_proj.weight"
        rough = dict(models.load_model("lab-exits", torch.device("cpu"), dtype).named_parameters())[key]
        torch.testing.assert_close(rough.double(), weights["lab-exits"][key], rtol=tolerance, atol=tolerance)
    pair = load("lab-exits")
    assert (pair.target_name, pair.draft_name) == ("lab-exits", "lab-draft")


def test_parameters_are_counted_from_the_headers(tmp_path):
    model = tiny_models.tiny("gpt2", vocabulary=64)
    tiny_models.save(model, tmp_path)
    assert models._count(tmp_path) == sum(weight.numel() for weight in model.parameters())


def test_other_models_by_environment(folder, monkeypatch):
    monkeypatch.setenv("LABKIT_TARGET", str(folder))
    monkeypatch.setenv("LABKIT_MODELS", f"some/hub-id, {folder}")
    assert models.default_name("draft") == NO_DRAFT, "the shipped draft speaks another language"
    names = [info.name for info in available()]
    assert names == [str(folder), "lab-target", "lab-draft", "lab-exits", "lab-long", "some/hub-id"]
    pair = load()
    assert (pair.target_name, pair.draft, pair.draft_name) == (str(folder), None, "")
    monkeypatch.setenv("LABKIT_DRAFT", str(folder))
    monkeypatch.setenv("LABKIT_DTYPE", "float64")
    pair = load()
    assert (pair.draft_name, pair.target.dtype, pair.draft.dtype) == (str(folder), torch.float64, torch.float64)
    assert load("lab-target", dtype="float32").draft is None, "a target of one's own choice comes alone"
    assert models.names("lab-exits", "") == ("lab-exits", NO_DRAFT), "the draft named speaks another language"
    monkeypatch.setenv("LABKIT_DEVICE", "warp")
    with pytest.raises(ModelError, match="There is no device 'warp': choose cpu or cuda."):
        load()


def test_several_ends_of_text(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 77]}))
    assert load(str(folder), "none").ends == {0, 77}


# -- pieces ------------------------------------------------------------------------------------------------------------


TEXT = "def f(a):\n    return \"é ü € 漢字 🙂\" + '\\t' * 3  # <b>&amp;\n"


def test_pieces_of_byte_level_tokens(shipped32):
    vocabulary = shipped32.vocabulary
    ids = vocabulary.encode(TEXT)
    assert vocabulary.decode(ids) == TEXT
    pieces = vocabulary.pieces(ids)
    whole = b"".join(pieces[token].encode() if "\\x" not in pieces[token] else unescape(pieces[token]) for token in ids)
    assert whole.decode() == TEXT
    assert vocabulary.piece(0) == "<|endoftext|>"
    assert vocabulary.piece(vocabulary.size + 5) == f"<{vocabulary.size + 5}>"


def unescape(piece: str) -> bytes:
    return piece.encode().decode("unicode_escape").encode("latin-1")


def test_pieces_never_fail(shipped32):
    for token in range(4096):
        assert isinstance(shipped32.vocabulary.piece(token), str)
        assert shipped32.vocabulary.piece(token)


# -- what cannot be loaded ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (("no-org/no-such-model", "none"), "There is no model 'no-org/no-such-model' here"),
        (("nonsense", "none"), "There is no model 'nonsense' here: choose lab-target, lab-draft, lab-exits, lab-long or"),
        (("lab-target", "nobody/nothing"), "There is no model 'nobody/nothing' here"),
        (("/no/such/folder", "none"), "There is no model folder '/no/such/folder': check the path."),
        (("./nowhere", "none"), "There is no model folder './nowhere'"),
        (("~/nowhere-at-all", "none"), "There is no model folder '~/nowhere-at-all'"),
        (("bad name?/..", "none"), "There is no model"),
        (("\x00", "none"), "There is no model"),
        (("https://example.com/model", "none"), "There is no model"),
        (("lab-target", "none", "warp"), "There is no device 'warp': choose cpu or cuda."),
        (("lab-target", "none", "meta"), "There is no device 'meta': choose cpu or cuda."),
        (("lab-target", "none", "cuda:99"), "The device is 'cuda:99'"),
        (("lab-target", "none", "cpu", "float16"), "The dtype is 'float16': choose one of float32, float64, bfloat16."),
        (("lab-target", "none", "cpu", "int8"), "The dtype is 'int8'"),
    ],
    ids=str,
)
def test_unknown_models_devices_and_dtypes(ask, sentence):
    with pytest.raises(ModelError) as caught:
        load(*ask)
    assert sentence in str(caught.value)


def test_an_unknown_id_never_asks_the_network(monkeypatch):
    """It used to take half a minute of retries: here every connection is refused and counted."""
    import socket

    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: asked.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **more: asked.append(where) or [])
    with pytest.raises(ModelError, match="or set LABKIT_DOWNLOAD=1 to fetch it from the hub"):
        load("no-org/no-such-model", "none")
    assert asked == []


def damage(file: str, data: bytes | None):
    def act(folder: Path) -> None:
        if data is None:
            (folder / file).unlink()
        else:
            (folder / file).write_bytes(data)

    return act


def only_pickle(folder: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def a_layer_short(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "mlp.up_proj" in name)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def foreign_code(folder: Path) -> None:
    edit(folder / "config.json", model_type="stranger", auto_map={"AutoConfig": "c.C", "AutoModelForCausalLM": "c.M"})
    (folder / "c.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")


DAMAGED = {
    "pickle only": (only_pickle, "give a folder with config.json and *.safetensors"),
    "no weights": (damage("model.safetensors", None), "give a folder with config.json and *.safetensors"),
    "weights cut short": (
        damage("model.safetensors", SHIPPED_FILES.joinpath("model.safetensors").read_bytes()[:9999]),
        "cannot be",
    ),
    "weights of noise": (damage("model.safetensors", bytes(range(256)) * 9), "cannot be loaded"),
    "weights missing": (a_layer_short, "lacks the weights 'model.layers.0.mlp.up_proj.weight'"),
    "another width": (lambda folder: edit(folder / "config.json", hidden_size=96), "cannot be loaded"),
    "no config": (damage("config.json", None), "give a folder with config.json"),
    "half a config": (damage("config.json", b'{"model_type": "lla'), "'s"),
    "a list for a config": (damage("config.json", b"[]"), "'s"),
    "an unknown kind": (lambda folder: edit(folder / "config.json", model_type="martian"), "cannot be loaded"),
    "its own code": (foreign_code, "cannot be loaded"),
    "no tokenizer": (lambda folder: [file.unlink() for file in folder.glob("token*")], "has no tokenizer"),
    "half a tokenizer": (damage("tokenizer.json", b'{"version": "1.0"'), "has no tokenizer"),
    "an empty tokenizer": (damage("tokenizer.json", b"{}"), "has no tokenizer"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_folders(name, folder):
    act, sentence = DAMAGED[name]
    act(folder)
    with pytest.raises(ModelError) as caught:
        load(str(folder), "none", "cpu", "float32")
    assert sentence.replace("'s", str(folder)) in str(caught.value)
    assert not (folder / "ran").exists(), "code that came with a model was run"


def test_vocabularies_that_differ(folder, tmp_path):
    tokens = json.loads((folder / "tokenizer.json").read_text())
    for word, number in list(tokens["model"]["vocab"].items()):
        if number in (200, 201):
            tokens["model"]["vocab"][word] = 401 - number
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(
        ModelError, match=r"Draft and target have different vocabularies \(4,096 and 4,096\): choose another draft"
    ):
        load("lab-target", str(folder))
    narrow = tiny_models.save(tiny_models.tiny("gpt2", vocabulary=64), tmp_path / "narrow")
    with pytest.raises(ModelError, match=r"different vocabularies \(64 and 4,096\)"):
        load("lab-target", str(narrow))


def test_listing_models_loads_no_torch_model():
    code = "from labkit.models import available; import sys; available(); print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
