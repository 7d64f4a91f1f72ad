"""What goes into a report: tables (numbers as text, and files), documents (words, one zip)."""

from . import documents, tables

__all__ = ["documents", "tables"]
