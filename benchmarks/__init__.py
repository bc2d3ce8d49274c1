"""Measurements, interleaved with their baselines in one run: `make bench`."""
