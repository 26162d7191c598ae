"""Attention sparsity and the KV cache: which keys are kept, which are read, and what that costs and saves."""
