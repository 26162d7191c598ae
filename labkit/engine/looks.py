"""One-off questions to the models: each is a struct whose fields are the question and whose `answer` is the reply.

To add one, write a struct with an `answer(pair, limits)` and name it in `LOOKS`; one that only reads the tokenizer is `light` and
gets the vocabulary instead of the pair. Answers are plain data; torch is imported when the first one is given, in the
engine's thread.
"""

from __future__ import annotations

import inspect
import time
from functools import lru_cache
from typing import Annotated, Any, ClassVar, get_type_hints

import msgspec

from labkit.engine.limits import Limits, check_length, check_text
from labkit.errors import EngineError, PromptError


class Tokens(msgspec.Struct, forbid_unknown_fields=True):
    """How `text` is cut: `ids`, `pieces` (token to text), `count`, the model's `context`, and the `room` left in it."""

    text: str

    def answer(self, pair: Any, limits: Limits) -> dict[str, Any]:
        check_text(self.text, limits)
        ids, context = pair.vocabulary.encode(self.text), pair.target.context
        room = max(context - len(ids), 0)
        return {"ids": ids, "pieces": pair.vocabulary.pieces(ids), "count": len(ids), "context": context, "room": room}


class Next(msgspec.Struct, forbid_unknown_fields=True):
    """What the target believes comes after `ids`, at temperature 1 with nothing cut.

    `top` tokens, best first, with `top_logprobs` (natural logarithms) and `pieces`; `entropy` in nats; with `laws` also
    `law`, ln p of the whole vocabulary [V] as little-endian float16.
    """

    ids: list[int]
    top: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20
    laws: bool = False

    def answer(self, pair: Any, limits: Limits) -> dict[str, Any]:
        import torch

        from labkit.law import entropy
        from labkit.lm import Session

        _check_ids(self.ids, pair, limits)
        with torch.inference_mode():
            logs = Session(pair.target, self.ids).logits.log_softmax(-1)
            best, tokens = logs.topk(min(self.top, logs.shape[-1]))
            answer = {
                "top": tokens.tolist(),
                "top_logprobs": best.tolist(),
                "entropy": entropy(logs.exp()).item(),
                "pieces": pair.vocabulary.pieces(tokens.tolist()),
            }
            if self.laws:
                answer["law"] = logs.half().cpu().numpy().tobytes()
        return answer


class Check(msgspec.Struct):
    """Draw outputs and lay their law over the exact one; the words are those of `labkit.speculative.check.check`."""

    words: dict[str, Any]

    def answer(self, pair: Any, limits: Limits) -> dict[str, Any]:
        from labkit.speculative.check import check

        kinds = get_type_hints(check)
        try:
            inspect.signature(check).bind(pair, **self.words)
            words = {name: msgspec.convert(value, kinds[name], str_keys=True) for name, value in self.words.items()}
        except (TypeError, msgspec.ValidationError) as wrong:
            raise EngineError(f"The question 'check' cannot be asked like this ({wrong}): correct that word.") from None
        _check_ids(words["ids"], pair, limits)
        return check(pair, **words)


def _check_ids(ids: list[int], pair: Any, limits: Limits) -> None:
    check_length(len(ids), limits)
    last = pair.target.vocabulary - 1
    if wrong := [token for token in ids if not 0 <= token <= last]:
        raise PromptError(f"Token {wrong[0]} is outside the vocabulary: choose ids from 0 to {last:,}.")


LONGEST_RIBBON = 20_000  # bytes
LONGEST_PIECE = 256  # bytes of a token whose merges are undone


class Segmenters(msgspec.Struct, forbid_unknown_fields=True):
    """Everything that cuts a text: `segmenters`, each with name, title, summary, paper and knobs."""

    light: ClassVar[bool] = True

    def answer(self, vocabulary: Any, limits: Limits) -> dict[str, Any]:
        from labkit.knobs import schema
        from labkit.tokenization.segmenter import all_segmenters

        told = [
            {"name": cls.name, "title": cls.title, "summary": cls.summary(), "paper": cls.paper, "knobs": schema(cls)}
            for cls in all_segmenters().values()
        ]
        return {"segmenters": msgspec.to_builtins(told, str_keys=True)}


class Cut(msgspec.Struct, forbid_unknown_fields=True):
    """Where the segmenter `name` cuts `text`: `starts` in bytes, `ids` as text, and what the cut is worth.

    `types` different tokens of a vocabulary of `size` (0 = open), `renyi` efficiency, the shares of different tokens that are
    `valid` and `pure` names of Python (P093), and the `seconds` that cutting took.
    """

    light: ClassVar[bool] = True
    text: str
    name: str
    knobs: dict[str, Any] = {}

    def answer(self, vocabulary: Any, limits: Limits) -> dict[str, Any]:
        from labkit.tokenization.metrics import renyi_efficiency
        from labkit.tokenization.morphemes import python_lexicon, valid_and_pure

        size = len(self.text.encode(errors="surrogatepass"))
        if size > LONGEST_RIBBON:
            raise PromptError(f"The text has {size:,} bytes, the ribbon shows {LONGEST_RIBBON:,}: shorten it.")
        segmenter = _segmenter(self.name, self.knobs, vocabulary)
        segmenter.encode("a")  # whatever it loads on first use is not part of the cutting
        began = time.perf_counter()
        pieces = segmenter.encode(self.text)
        seconds = time.perf_counter() - began
        types = len(segmenter.vocabulary or ())
        ids = [piece.id for piece in pieces]
        data = self.text.encode()
        valid, pure = valid_and_pure((data[piece.start : piece.end] for piece in pieces), python_lexicon())
        return {
            "starts": [piece.start for piece in pieces],
            "ids": [str(token) if token < 2**53 else "" for token in ids],
            "bytes": size,
            "types": len(set(ids)),
            "size": types,
            "renyi": renyi_efficiency(ids, types or len(set(ids))),
            "valid": valid,
            "pure": pure,
            "seconds": seconds,
        }


class Undo(msgspec.Struct, forbid_unknown_fields=True):
    """The merges behind one token, given by its bytes in hexadecimal, undone down to single bytes.

    `split` is {text, rank, halves}; a token that was never merged has no halves.
    """

    light: ClassVar[bool] = True
    piece: str
    name: str
    knobs: dict[str, Any] = {}

    def answer(self, vocabulary: Any, limits: Limits) -> dict[str, Any]:
        try:
            data = bytes.fromhex(self.piece)
        except ValueError:
            data = b""
        if not 0 < len(data) <= LONGEST_PIECE:
            raise PromptError(f"The token has {len(data)} bytes: merges are shown for tokens of 1 to {LONGEST_PIECE}.")

        def told(split: Any) -> dict[str, Any]:
            text = split.piece.decode("utf-8", "backslashreplace")
            return {"text": text, "rank": split.rank, "halves": [told(half) for half in split.halves]}

        return {"split": told(_segmenter(self.name, self.knobs, vocabulary).undo(data))}


def _segmenter(name: str, knobs: dict[str, Any], vocabulary: Any) -> Any:
    """The segmenter with these knobs, kept for the next question: its tables cost more than most texts."""
    try:
        return _kept(name, msgspec.json.encode(sorted(knobs.items())), vocabulary)
    except msgspec.MsgspecError as wrong:
        raise EngineError(f"The knobs of {name!r:.60} are no plain values ({wrong}): correct them.") from None


@lru_cache(64)
def _kept(name: str, knobs: bytes, vocabulary: Any) -> Any:
    from labkit.tokenization.segmenter import build_segmenter

    return build_segmenter(name, dict(msgspec.json.decode(knobs)), vocabulary)


LOOKS = {"tokens": Tokens, "next": Next, "check": Check, "segmenters": Segmenters, "cut": Cut, "undo": Undo}


def read(what: str, question: dict[str, Any]) -> Tokens | Next | Check | Segmenters | Cut | Undo:
    """The question as one of `LOOKS`. Raises `EngineError` when there is none of that name or a word of it is wrong."""
    if not isinstance(what, str) or what not in LOOKS:
        raise EngineError(f"There is no question {what!r:.60}: ask one of {', '.join(LOOKS)}.")
    try:
        return msgspec.convert({"words": question} if what == "check" else question, LOOKS[what])
    except msgspec.ValidationError as wrong:
        raise EngineError(f"The question {what!r} cannot be asked like this ({wrong}): correct that word.") from None
