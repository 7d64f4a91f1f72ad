"""A report of an evaluation: documents (all its files), text (from words to Word, LaTeX and HTML), tables."""

from . import documents, tables

__all__ = ["documents", "tables"]
