"""Masked-diffusion and any-order language models: text written in many places at once."""
