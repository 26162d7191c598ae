"""The tokenizer of the model in use, whatever its kind, as a segmenter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from labkit.errors import ModelError
from labkit.models import Vocabulary
from labkit.tokenization.segmenter import Piece, Segmenter


@dataclass
class Shipped(Segmenter):
    """The tokenizer that the chosen model reads with.

    One that writes a space before every text is forgiven that space. Raises `ModelError` for a text that the tokenizer changes
    otherwise (by lower case, say): its cuts cannot be laid over the bytes.
    """

    name, title = "model", "The model's own"
    source: Vocabulary | None = field(default=None, repr=False)  # given by `build_segmenter`

    def cut(self, text):
        backend = getattr(getattr(self.source, "tokenizer", None), "backend_tokenizer", None)  # a tenth of the wrapper's time
        tokens = backend.encode(text, add_special_tokens=False).ids if backend else self.source.encode(text) if text else []
        tokens = [token for token in tokens if self.spelling(token)]  # without marks
        if self.decode(tokens).removeprefix(b" ") != text.encode().removeprefix(b" "):
            raise ModelError("This model's tokenizer changes the text before it cuts it: choose another model, or other text.")
        return tokens

    def encode(self, text):
        pieces = super().encode(text)
        extra = pieces[-1].end - len(text.encode()) if pieces else 0  # the space in front
        moved = [Piece(max(start - extra, 0), end - extra, token) for start, end, token in pieces]
        return [piece for piece in moved if piece.end > piece.start] if extra else pieces

    def spelling(self, token):
        return self.source.spelling(token)

    @cached_property
    def vocabulary(self):
        spelled = {self.spelling(token): token for token in range(self.source.size)}
        return {piece: token for piece, token in spelled.items() if piece}

    @cached_property
    def merges(self):
        return self.source.merges
