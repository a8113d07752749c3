"""Smaller models out of larger ones: distil, prune, factorise, quantise."""
