"""The byte-level BPE tokenizer that the shipped models share: 4,096 entries, frozen once trained.

The pre-tokenizer has no look-ahead, so every prefix of a valid encoding is the encoding of its own text, and byte-level
probabilities can be exact.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 4096
RESERVED = (
    "<|endoftext|>",
    "<|pad|>",
    "<|mask|>",
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|enc|>",
    "<|dec|>",
    "<|e2d|>",
    "<|match|>",
    *(f"<|sentinel_{i}|>" for i in range(32)),
    *(f"<|spare_{i}|>" for i in range(22)),
)
END_OF_TEXT, PAD, MASK, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = range(6)
PRE_TOKENIZER = r" ?[A-Za-z_]+|[0-9]{1,3}| ?[^\sA-Za-z_0-9]+|\n *|\s"


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """A byte-level BPE of `vocabulary` entries, the 64 reserved ones first, learned from `texts`.

    Raises ValueError when `vocabulary` can't hold the reserved entries and the 256 bytes.
    """
    smallest = len(RESERVED) + 256
    if vocabulary < smallest:
        raise ValueError(f"vocabulary {vocabulary} is too small: give at least {smallest} (64 reserved + 256 bytes)")
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRE_TOKENIZER), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(RESERVED),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in `folder` (its `tokenizer.json`). Raises ValueError when there is none."""
    file = Path(folder) / "tokenizer.json"
    if not file.is_file():
        raise ValueError(f"no tokenizer.json in {folder}: name a folder with a tokenizer, such as data/models/target")
    return Tokenizer.from_file(str(file))


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files that transformers reads (`tokenizer.json`, `tokenizer_config.json`) into `folder`."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=RESERVED[END_OF_TEXT],
        eos_token=RESERVED[END_OF_TEXT],
        pad_token=RESERVED[PAD],
        mask_token=RESERVED[MASK],
    ).save_pretrained(folder)
