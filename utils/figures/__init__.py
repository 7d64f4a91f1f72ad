"""Figures: tables in, Figure out. style (sizes, colours, saving), data, pictures, results, comparisons."""

from . import comparisons, data, pictures, results, style

__all__ = ["comparisons", "data", "pictures", "results", "style"]
