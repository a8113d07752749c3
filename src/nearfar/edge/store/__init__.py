"""The store of a search index: one SQLite file that holds the truth (documents, passages, codes, keywords)."""

from nearfar.edge.store.reader import StoredPassage, StoreReader
from nearfar.edge.store.writer import StoreWriter

__all__ = ["StoreReader", "StoreWriter", "StoredPassage"]
