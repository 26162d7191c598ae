import pytest
import torch

from labkit.train.attention import NAME, blocked_causal_attention
from labkit.train.plan import config_of


@pytest.mark.parametrize("length", [1, 100, 256, 300, 513])
def test_it_is_causal_softmax_attention(length):
    generator = torch.Generator().manual_seed(length)
    query = torch.randn(2, 4, length, 8, generator=generator, dtype=torch.float64)
    key, value = (torch.randn(2, 2, length, 8, generator=generator, dtype=torch.float64) for _ in "kv")
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(blocked_causal_attention(query, key, value, 8**-0.5), expected)


def test_transformers_uses_it_and_agrees_with_its_own():
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(config_of("draft")).eval()
    ids = torch.randint(64, 4096, (2, 300))
    with torch.inference_mode():
        expected = model(ids).logits
        model.set_attn_implementation(NAME)
        torch.testing.assert_close(model(ids).logits, expected, atol=1e-4, rtol=1e-4)
