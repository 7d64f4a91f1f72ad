"""What goes into a report: tables (numbers as text, files), documents (words of templates/, a zip)."""

from . import documents, tables

__all__ = ["documents", "tables"]
