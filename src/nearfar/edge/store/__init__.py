"""The store of a search index: one SQLite file that holds the truth (documents, codes, keywords)."""

from nearfar.edge.store.reader import StoredDocument, StoreReader
from nearfar.edge.store.writer import StoreWriter

__all__ = ["StoreReader", "StoreWriter", "StoredDocument"]
