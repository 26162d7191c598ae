"""The tokenizer of the model in use, whatever its kind, as a segmenter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from labkit.errors import ModelError
from labkit.models import Vocabulary
from labkit.tokenization.segmenter import Segmenter


@dataclass
class Shipped(Segmenter):
    """The tokenizer that the chosen model reads with.

    Raises `ModelError` for a text that the tokenizer changes (by lower case, say): its cuts cannot be laid over the bytes.
    """

    name, title = "model", "The model's own"
    source: Vocabulary | None = field(default=None, repr=False)  # given by `build_segmenter`

    def cut(self, text):
        tokens = self.source.encode(text) if text else []
        said, wanted = self.decode(tokens), text.encode()
        if said == wanted:
            return tokens
        inner = [token for token in tokens if self.spelling(token)]  # without marks for the beginning and end of a text
        if self.decode(inner) == wanted:
            return inner
        raise ModelError("This model's tokenizer changes the text before it cuts it: choose another model, or other text.")

    def spelling(self, token):
        return self.source.spelling(token)

    @cached_property
    def vocabulary(self):
        spelled = {self.spelling(token): token for token in range(self.source.size)}
        return {piece: token for piece, token in spelled.items() if piece}

    @cached_property
    def merges(self):
        return self.source.merges
