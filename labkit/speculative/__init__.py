"""Speculative and multi-token decoding: somebody proposes, the target checks in one forward, one path survives."""
