"""What a training run does when: shapes, batch, learning rate and windows as functions of the tokens seen so far.

Warm-up, stable, decay (WSD): the learning rate rises, stays, and falls to zero in the last part. A run can be extended
later from its last stable checkpoint; only the decay is done again. Nothing here depends on the clock, so a run that is
paused, slowed or continued elsewhere does the same work.
"""

from dataclasses import dataclass

from transformers import LlamaConfig

from labkit.train.tokenizer import END_OF_TEXT, PAD, VOCABULARY

CONTEXT = 2048  # tokens
SHORT_WINDOW, LONG_WINDOW = 512, 2048  # tokens: cheap windows while stable, whole contexts while decaying
NEEDLES_EVERY = 3  # while decaying, every third batch is needles, unless a plan says otherwise
ASKED_WEIGHT = 8  # what a token that is asked for counts in the loss of those batches: there are a few in a thousand
DECAY_SHARE = 0.3  # of a run's tokens
WARMUP_STEPS = 100
BATCH = {"cpu": 8192, "cuda": 131_072}  # tokens an optimizer step: small while text is scarce, large where it is cheap

SHAPES = {
    "target": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 8, "heads": (4, 2)},
    "draft": {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "heads": (2, 1)},
}


def config_of(role: str) -> LlamaConfig:
    """The shape of the "target" or the "draft": Llama style, heads of 64, tied embeddings, context 2,048.

    Raises ValueError for another role.
    """
    if role not in SHAPES:
        raise ValueError(f"unknown model {role!r}: choose one of {', '.join(SHAPES)}")
    shape = dict(SHAPES[role])
    query_heads, key_value_heads = shape.pop("heads")
    return LlamaConfig(
        **shape,
        num_attention_heads=query_heads,
        num_key_value_heads=key_value_heads,
        head_dim=64,
        vocab_size=VOCABULARY,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=END_OF_TEXT,
        eos_token_id=END_OF_TEXT,
        pad_token_id=PAD,
    )


@dataclass(frozen=True)
class Plan:
    """A run's schedule. All amounts are tokens.

    tokens: the whole run; decay_from: where the decay and the long windows begin; batch: an optimizer step's tokens;
    rate: the peak learning rate (of Muon and AdamW alike); seed: of the initial weights and the order of the windows;
    needles_every: of this many long batches one is needles.
    """

    tokens: int
    decay_from: int
    batch: int = BATCH["cpu"]
    rate: float = 2e-3
    seed: int = 0
    needles_every: int = NEEDLES_EVERY

    @classmethod
    def of(cls, tokens: int, seen: int = 0, decay: float = DECAY_SHARE, **rest) -> "Plan":
        """A plan of `tokens` in all of which `seen` are done: the decay takes the share `decay`, or what is left if less.

        Raises ValueError when nothing is left to do or the batch can't hold one long window.
        """
        if tokens <= seen:
            raise ValueError(f"a budget of {tokens} tokens leaves nothing to do after {seen}: give a larger one")
        plan = cls(tokens, max(round(tokens * (1 - decay)), seen), **rest)
        if plan.batch < LONG_WINDOW or plan.batch % LONG_WINDOW:
            raise ValueError(f"a batch of {plan.batch} tokens is not a multiple of {LONG_WINDOW}, one long window")
        return plan

    def rate_at(self, seen: int) -> float:
        """The learning rate of the step that starts after `seen` tokens: 0 to `rate`."""
        warmed = min(1.0, (seen / self.batch + 1) / WARMUP_STEPS)
        if seen < self.decay_from:
            return self.rate * warmed
        left = max(0.0, (self.tokens - seen) / (self.tokens - self.decay_from))
        return self.rate * min(warmed, left)

    def window_at(self, seen: int) -> int:
        """How long the windows of the step after `seen` tokens are, in tokens."""
        return SHORT_WINDOW if seen < self.decay_from else LONG_WINDOW
