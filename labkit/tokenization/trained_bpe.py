"""A byte-level BPE trained on the spot, for studies that ask what the size of a vocabulary does."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from labkit.tokenization.backend import Backend

WORDS = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s"  # no merge crosses these; letters of every alphabet


class TrainedBPE(Backend):
    """A BPE of `size` entries, its 256 bytes among them, learned from `text`; fewer where the text has no more pairs."""

    def __init__(self, text: str, size: int):
        self._own = Tokenizer(models.BPE())
        split = pre_tokenizers.Split(Regex(WORDS), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._own.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
        self._own.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        self._own.train_from_iterator(text.splitlines(keepends=True), trainer)

    @property
    def tokenizer(self):
        return self._own
