"""What training on letters and its exam share: texts to tokens in more than one way, and the likelihood of answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from labkit.tokenization.backend import spelled
from labkit.tokenization.stochastok import expansions, merged
from labkit.train.tokenizer import PAD


class Cutter:
    """Texts to tokens and tokens to other tokens of the same text, for one tokenizer of the `tokenizers` library."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        special = tokenizer.get_added_tokens_decoder()
        names = tokenizer.get_vocab(with_added_tokens=False)
        self.ids = {spelled(name): token for name, token in names.items() if token not in special}
        self.spellings = {token: piece for piece, token in self.ids.items()}
        self.table = expansions(self.ids)
        model = json.loads(tokenizer.to_str())["model"]
        self.ranks = {(spelled(left), spelled(right)): rank for rank, (left, right) in enumerate(model["merges"])}

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def dropped(self, ids: Sequence[int], p: float, rng: torch.Generator) -> list[int]:
        """The same text by BPE-dropout; reserved tokens stay, half characters at the ends go."""
        found, text = [], b""
        for token in [*ids, None]:
            if token in self.spellings:
                text += self.spellings[token]
                continue
            for name, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(text.decode("utf-8", "ignore")):
                found += [self.ids[piece] for piece in merged(spelled(name), self.ranks, p, rng)]
            found, text = found if token is None else [*found, token], b""
        return found


def padded(rows: Sequence[Sequence[int]]) -> Tensor:  # int64 [rows, longest]
    """Rows of ids, filled up behind their ends, which causal attention never sees."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])


def answer_logprobs(model: nn.Module, pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    """ln p of every token of the answers, [n], and the row each belongs to, [n]; the LM head runs on these places only."""
    ids = padded([ask + answer for ask, answer in pairs]).to(model.device)
    row = torch.tensor([number for number, (_, answer) in enumerate(pairs) for _ in answer], device=model.device)
    place = torch.tensor([len(ask) + at for ask, answer in pairs for at in range(len(answer))], device=model.device)
    states = model.model(ids[:, :-1], use_cache=False).last_hidden_state[row, place - 1]
    logs = model.lm_head(states).float().log_softmax(-1)
    return logs.gather(1, ids[row, place][:, None])[:, 0], row
