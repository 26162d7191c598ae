import pytest

from labkit.train.plan import LONG_WINDOW, SHORT_WINDOW, WARMUP_STEPS, Plan, config_of


def test_the_rate_warms_up_stays_and_decays_to_zero():
    plan = Plan.of(1000 * 8192, rate=1.0)
    rates = [plan.rate_at(step * 8192) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / WARMUP_STEPS)
    assert rates[WARMUP_STEPS - 1 : 701] == pytest.approx([1.0] * (702 - WARMUP_STEPS))
    assert rates[850] == pytest.approx(0.5)
    assert rates[1000] == 0
    assert all(a <= b for a, b in zip(rates[:100], rates[1:101], strict=True))
    assert all(a > b for a, b in zip(rates[700:1000], rates[701:], strict=True))


def test_windows_are_long_while_the_rate_decays():
    plan = Plan.of(1000 * 8192)
    assert plan.window_at(plan.decay_from - 1) == SHORT_WINDOW
    assert plan.window_at(plan.decay_from) == LONG_WINDOW


def test_an_extended_run_decays_in_what_is_left():
    assert Plan.of(100_000, seen=10_000).decay_from == 70_000
    assert Plan.of(100_000, seen=90_000).decay_from == 90_000


def test_bad_budgets_are_named():
    with pytest.raises(ValueError, match="budget of 0 tokens"):
        Plan.of(0)
    with pytest.raises(ValueError, match="leaves nothing to do after 500"):
        Plan.of(400, seen=500)
    with pytest.raises(ValueError, match="batch of 1000 tokens"):
        Plan.of(10_000, batch=1000)


def test_the_shapes_are_those_of_the_design():
    target, draft = config_of("target"), config_of("draft")
    assert (target.num_hidden_layers, target.hidden_size, target.intermediate_size) == (8, 256, 704)
    assert (draft.num_attention_heads, draft.num_key_value_heads, draft.head_dim) == (2, 1, 64)
    assert target.vocab_size == draft.vocab_size == 4096
    assert target.tie_word_embeddings
    with pytest.raises(ValueError, match="unknown model 'teacher'"):
        config_of("teacher")
