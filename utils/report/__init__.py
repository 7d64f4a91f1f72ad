"""A report of an evaluation: documents (all of it), content (its words), tables, formats, word."""

from . import documents, tables

__all__ = ["documents", "tables"]
