"""One-off questions to the models: each is a struct whose fields are the question and whose `answer` is the reply.

To add one, write a struct with an `answer(pair, limits)` and name it in `LOOKS`. Answers are plain data; torch is
imported when the first one is given, in the engine's thread.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_type_hints

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


LOOKS = {"tokens": Tokens, "next": Next, "check": Check}


def read(what: str, question: dict[str, Any]) -> Tokens | Next | Check:
    """The question as one of `LOOKS`. Raises `EngineError` when there is none of that name or a word of it is wrong."""
    if what not in LOOKS:
        raise EngineError(f"There is no question {what!r}: ask one of {', '.join(LOOKS)}.")
    try:
        return msgspec.convert({"words": question} if what == "check" else question, LOOKS[what])
    except msgspec.ValidationError as wrong:
        raise EngineError(f"The question {what!r} cannot be asked like this ({wrong}): correct that word.") from None
