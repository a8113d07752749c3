"""Searches narrowed to some documents: the language of `--where`, what it means, and which documents of a store it allows."""

from nearfar.edge.where.attributes import ATTRIBUTES, allowed_documents, attribute_rows, check_keys, known_keys
from nearfar.edge.where.condition import And, Compare, Condition, Exists, In, Like, Not, Or, keys, matches
from nearfar.edge.where.language import parse

__all__ = [
    "ATTRIBUTES",
    "And",
    "Compare",
    "Condition",
    "Exists",
    "In",
    "Like",
    "Not",
    "Or",
    "allowed_documents",
    "attribute_rows",
    "check_keys",
    "keys",
    "known_keys",
    "matches",
    "parse",
]
