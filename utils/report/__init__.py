"""What goes into a report: tables (numbers as text), content (words), formats and word (files), documents."""

from . import documents, tables

__all__ = ["documents", "tables"]
