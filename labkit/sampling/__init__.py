"""Entropy and sampling: what a token is drawn from, and what decoders do where the model is unsure."""
