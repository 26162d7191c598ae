import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.train import tokenizer as spec
from labkit.train.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer

TEXTS = ["def size(path):\n    return 12345\n", "class Queue:\n    limit = 0\n", "été → 三\t\n"] * 50


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(TEXTS, vocabulary=400)


def test_the_reserved_entries_come_first_in_order(trained, tokenizer):
    for each in (trained, tokenizer):
        assert [each.id_to_token(i) for i in range(64)] == list(spec.RESERVED)
    assert tokenizer.get_vocab_size() == spec.VOCABULARY
    assert spec.RESERVED[spec.FIM_MIDDLE] == "<|fim_middle|>"
    assert spec.RESERVED[9] == "<|match|>"
    assert spec.RESERVED[10] == "<|sentinel_0|>"
    assert spec.RESERVED[63] == "<|spare_21|>"


def test_the_pre_tokenizer_looks_neither_ahead_nor_behind(tokenizer):
    assert "(?" not in spec.PRE_TOKENIZER
    assert spec.PRE_TOKENIZER in tokenizer.to_str().replace("\\\\", "\\")


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_every_text_comes_back(tokenizer, text):
    if not any(name in text for name in spec.RESERVED):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@given(st.text(alphabet=st.sampled_from("ab_ 01\n\t.(é\"'"), max_size=40), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_every_prefix_of_an_encoding_encodes_its_own_text(tokenizer, text, length):
    ids = tokenizer.encode(text).ids[:length]
    prefix = tokenizer.decode(ids)
    if "\ufffd" not in prefix:  # a prefix may end inside a character
        assert tokenizer.encode(prefix).ids == ids


def test_it_is_saved_for_transformers_and_loaded_again(trained, tmp_path):
    save_tokenizer(trained, tmp_path)
    assert load_tokenizer(tmp_path).get_vocab() == trained.get_vocab()
    assert (tmp_path / "tokenizer_config.json").is_file()


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="no tokenizer.json in"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="vocabulary 300 is too small"):
        train_tokenizer(TEXTS, vocabulary=300)
