"""Masked diffusion: any order, many at once. One loop with six hooks (`ground.py`), which every paper changes in one to three."""
