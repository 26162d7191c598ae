"""Attention kernels in Triton, each in one file beside its plain-torch reference; a method calls the dispatcher of the two.

On a CPU, in float64 or without Triton the reference runs. Triton is imported at the first launch, never before.
"""
