"""Names to models: the shipped pair, or any Hugging Face causal LM by id or folder. Safetensors only, no remote code."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path

import torch

from labkit.engine.protocol import NO_DRAFT, ModelInfo
from labkit.errors import ModelError, PromptError
from labkit.paths import DATA

SHIPPED = {name: DATA / "models" / name.removeprefix("lab-") for name in ("lab-target", "lab-draft")}
# Shipped models that are another's weights with a trained part added: the other one, and the part (see `labkit.parts`).
ADDED = {"lab-exits": ("lab-target", "exits")}
# Shipped models that may read further than they were trained to: the other one, and the context in tokens.
LONGER = {"lab-long": ("lab-target", 8192 + 512)}
SHIPPED |= {name: SHIPPED[base] for name, (base, _) in (ADDED | LONGER).items()}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
# Parameters below which one torch thread serves best on a CPU. The shipped target (7M) gains nothing from a second one on a
# quiet machine, and beside a browser and notebooks that share two cores its threads wait for each other: 17 ms a step
# instead of 3.
SMALL = 30_000_000


@cache
def byte_letters() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte, with the byte it stands for."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


class Vocabulary:
    """A tokenizer as the lab needs it: text to ids, ids to text, and the text piece of every token."""

    def __init__(self, folder: str | Path, local: bool):
        from transformers import AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=local, trust_remote_code=False)
        except Exception as problem:  # a damaged folder makes transformers raise nearly anything
            if isinstance(folder, Path):
                raise ModelError(f"{str(folder)!r} has no tokenizer that can be loaded: add its tokenizer.json.") from problem
            hint = ", or set LABKIT_DOWNLOAD=1 to fetch it from the hub" if local else ""
            known = ", ".join(SHIPPED)
            raise ModelError(f"There is no model {folder!r} here: choose {known} or a folder{hint}.") from problem
        self.size = len(self.tokenizer)
        self._pieces: dict[int, str] = {}

    def encode(self, text: str) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError as half:
            raise PromptError(f"Character {half.start + 1:,} of the prompt is half a character: take it out.") from None
        return self.tokenizer(text).input_ids

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def piece(self, token: int) -> str:
        """The text of one token; bytes that are no whole character are written as \\xNN."""
        if token not in self._pieces:
            self._pieces[token] = self._piece(token)
        return self._pieces[token]

    def pieces(self, tokens) -> dict[int, str]:
        return {token: self.piece(token) for token in tokens}

    def _piece(self, token: int) -> str:
        name = self.tokenizer.convert_ids_to_tokens(token) if token < self.size else None
        if name is None:
            return f"<{token}>"  # models may have more rows than the tokenizer has tokens
        return name if token in self._marks else self._spelled(name).decode("utf-8", "backslashreplace")

    def spelling(self, token: int) -> bytes:
        """The bytes that one token adds to a text: none for a special token, maybe a part of a character for others."""
        name = self.tokenizer.convert_ids_to_tokens(token) if token < self.size else None
        return b"" if name is None or token in self._marks else self._spelled(name)

    @cached_property
    def merges(self) -> list[tuple[bytes, bytes]] | None:
        """The pairs that byte-pair encoding joins, in the order they were learned; None for another kind of tokenizer."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        pairs = json.loads(backend.to_str())["model"].get("merges") if backend else None
        return [tuple(map(self._spelled, pair if isinstance(pair, list) else pair.split(" "))) for pair in pairs or ()] or None

    def _spelled(self, name: str) -> bytes:
        if self._bytes and all(letter in self._bytes for letter in name):
            return bytes(self._bytes[letter] for letter in name)
        if name.startswith("<0x") and name.endswith(">"):
            return bytes([int(name[3:-1], 16)])
        return name.replace("▁", " ").encode()

    @cached_property
    def _marks(self) -> set[int]:
        """Tokens that stand for no text."""
        return {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}

    @cached_property
    def _bytes(self) -> dict[str, int]:
        """Letter to byte of byte-level BPE; empty for other tokenizers."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None or '"ByteLevel"' not in backend.to_str():
            return {}
        return byte_letters()


@cache
def vocabulary(name: str) -> Vocabulary:
    """The vocabulary of a model by its full name; loads no weights. Raises `ModelError` when it has none."""
    return Vocabulary(folder_of(name), not _may_download())


def vocabulary_of(runner) -> Vocabulary:
    """The vocabulary of a runner's model, for studies that bring their own texts. Raises `ModelError` for a nameless model."""
    if not hasattr(runner, "name"):
        raise ModelError("This model has no name, so its tokenizer cannot be found: load it by its name or folder.")
    return vocabulary(runner.name)


@dataclass
class Pair:
    """A target, perhaps a draft, and their vocabulary, ready to run."""

    target: object  # a runner: LlamaRunner or HuggingFaceRunner
    draft: object | None
    vocabulary: Vocabulary
    target_name: str
    draft_name: str
    ends: frozenset[int]  # end-of-text tokens
    memory: dict = field(default_factory=dict)  # what methods keep across requests (a hot Token Recycling matrix)


def default_name(role: str) -> str:
    """The model of `role` ("target" or "draft") that runs when none is asked for: LABKIT_TARGET, LABKIT_DRAFT or the shipped."""
    own_target = os.environ.get("LABKIT_TARGET")
    if role == "draft" and own_target and not os.environ.get("LABKIT_DRAFT"):
        return NO_DRAFT  # the shipped draft speaks another vocabulary than somebody's own target
    return os.environ.get(f"LABKIT_{role.upper()}") or f"lab-{role}"


def allowed() -> list[str]:
    """The models a visitor may choose: the shipped ones, the defaults, and LABKIT_MODELS (ids or folders, comma-separated)."""
    extra = [name.strip() for name in os.environ.get("LABKIT_MODELS", "").split(",") if name.strip()]
    return list(dict.fromkeys([default_name("target"), default_name("draft"), *SHIPPED, *extra]))


def folder_of(name: str) -> Path | str:
    """Where a model lives: a shipped one, a folder, or (left as it is) a hub id."""
    if name in SHIPPED:
        return SHIPPED[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")):
        raise ModelError(f"There is no model folder {name!r}: check the path.")
    return name


def _may_download() -> bool:
    return os.environ.get("LABKIT_DOWNLOAD", "") not in ("", "0")


def available() -> list[ModelInfo]:
    """The models a visitor may choose, read from their configurations without loading them."""
    infos = []
    for name in allowed():
        if name == NO_DRAFT:
            continue
        role = "draft" if name in ("lab-draft", default_name("draft")) else "target"
        info = ModelInfo(name=name, role=role, default=name == default_name(role))
        try:
            config = json.loads((Path(folder_of(name)) / "config.json").read_text())
        except (OSError, ModelError):
            infos.append(info)  # a hub id that is not here as a folder: known by name only
            continue
        info.layers, info.width = config.get("num_hidden_layers", 0), config.get("hidden_size", 0)
        info.vocabulary, info.context = config.get("vocab_size", 0), config.get("max_position_embeddings", 0)
        info.context = LONGER[name][1] if name in LONGER else info.context
        info.parameters = _count(Path(folder_of(name)))
        infos.append(info)
    return infos


def _count(folder: Path) -> int:
    """Parameters, from the headers of the safetensors files: 8 bytes of length, then JSON."""
    total = 0
    for file in folder.glob("*.safetensors"):
        with open(file, "rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        for key, tensor in header.items():
            if key != "__metadata__":
                size = 1
                for side in tensor["shape"]:
                    size *= side
                total += size
    return total


def dtype_of(name: str) -> torch.dtype:
    """The dtype `name`; "" is LABKIT_DTYPE or float32. Raises `ModelError` on an unknown one."""
    name = name or os.environ.get("LABKIT_DTYPE") or "float32"
    if name not in DTYPES:
        raise ModelError(f"The dtype is {name!r}: choose one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def device_of(name: str) -> torch.device:
    """The device `name`; "" is LABKIT_DEVICE, or CUDA where there is one. Raises `ModelError` when it is not there."""
    name = name or os.environ.get("LABKIT_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ModelError(f"There is no device {name!r}: choose cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"The device is {name!r}, but {torch.cuda.device_count()} CUDA devices are ready here: choose cpu.")
    return device


def load_model(name: str, device: torch.device, dtype: torch.dtype):
    """The transformers model `name`. Raises `ModelError` when it is unknown, has no safetensors or does not fit in memory."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    where = folder_of(name)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            where,
            dtype=dtype,
            local_files_only=not _may_download(),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        model = model.to(device).eval()
    except torch.OutOfMemoryError:
        raise ModelError(f"The model {name!r} does not fit into the memory of {device}: choose a smaller one.") from None
    except Exception as problem:  # a damaged folder makes transformers raise nearly anything
        hint = "" if _may_download() else ", or set LABKIT_DOWNLOAD=1 to fetch it from the hub"
        raise ModelError(
            f"The model {name!r} cannot be loaded: give a folder with config.json and *.safetensors{hint}."
        ) from problem
    if missing := report["missing_keys"]:  # transformers fills them with noise and goes on
        raise ModelError(f"The model {name!r} lacks the weights {min(missing)!r}: give the folder all its *.safetensors.")
    if name in ADDED:
        from labkit.parts import merge

        merge(model, *ADDED[name])
    if name in LONGER:
        model.config.max_position_embeddings = LONGER[name][1]
    return model


def make_runner(model):
    """The runner of a loaded transformers model: the lean forward where it fits, else transformers' own."""
    from labkit.hf import HuggingFaceRunner
    from labkit.llama import LlamaRunner, fits

    return LlamaRunner(model) if fits(model.config) else HuggingFaceRunner(model)


def load_runner(name: str, device: torch.device, dtype: torch.dtype):
    """A runner for the model `name`; its `fresh()` loads the model again, to be trained. Raises as `load_model` does."""
    runner = make_runner(load_model(name, device, dtype))
    runner.name = name
    runner.fresh = partial(load_model, name, device, dtype)
    return runner


def names(target: str, draft: str) -> tuple[str, str]:
    """The full names of a pair: "" is the default, and an own target has no draft unless one is named."""
    if not draft:
        kin = target in ADDED and default_name("draft") in SHIPPED  # they share a vocabulary
        draft = default_name("draft") if kin or target in ("", default_name("target")) else NO_DRAFT
    return target or default_name("target"), draft


def spare_threads(pair: Pair) -> None:
    """Let torch use one thread in the calling thread when the pair is small and on a CPU; see `SMALL`."""
    if pair.target.device.type == "cpu" and pair.target.parameters < SMALL:
        torch.set_num_threads(1)


def _ends(where: Path | str, vocabulary: Vocabulary) -> frozenset[int]:
    from transformers import AutoConfig, GenerationConfig

    ends = {vocabulary.tokenizer.eos_token_id}
    for source in (GenerationConfig, AutoConfig):
        try:
            listed = source.from_pretrained(where, local_files_only=not _may_download()).eos_token_id
        except (OSError, ValueError):  # many folders have no generation_config.json
            continue
        ends.update(listed if isinstance(listed, list) else [listed])
        break
    return frozenset(end for end in ends if end is not None)


def load(target: str = "", draft: str = "", device: str = "", dtype: str = "") -> Pair:
    """Load a target and a draft ("none" = no draft) by name, id or folder; "" = the default.

    Raises `ModelError`: unknown model, device or dtype, no safetensors, or vocabularies that differ.
    """
    target, draft = names(target, draft)
    where, place, kind = folder_of(target), device_of(device), dtype_of(dtype)
    local = not _may_download()
    vocabulary = Vocabulary(where, local)
    if draft != NO_DRAFT:
        other = Vocabulary(folder_of(draft), local)
        if other.tokenizer.get_vocab() != vocabulary.tokenizer.get_vocab():
            raise ModelError(
                f"Draft and target have different vocabularies ({other.size:,} and {vocabulary.size:,}): choose another draft."
            )
    runner = load_runner(target, place, kind)
    drafter = None if draft == NO_DRAFT else load_runner(draft, place, kind)
    if drafter is not None and drafter.vocabulary != runner.vocabulary:
        raise ModelError(
            f"Draft and target have different vocabularies ({drafter.vocabulary:,} and {runner.vocabulary:,}): "
            f"choose another draft."
        )
    return Pair(runner, drafter, vocabulary, target, "" if drafter is None else draft, _ends(where, vocabulary))
