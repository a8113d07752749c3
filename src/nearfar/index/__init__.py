"""Nearest neighbours over arrays: exact, int8 codes, and a graph (HNSW). No policy about files, no torch."""

from nearfar.index.exact import exact_search, top_k
from nearfar.index.hnsw import HnswIndex
from nearfar.index.quantise import dequantise, int8_scores, quantise_int8

__all__ = ["HnswIndex", "dequantise", "exact_search", "int8_scores", "quantise_int8", "top_k"]
