"""Benches: what things cost, measured. `labkit bench …` prints them."""
