"""Figures: data in, Figure out. style (sizes, colours, saving), data, pictures, results, measures, errors."""

from . import data, errors, measures, pictures, results, style

__all__ = ["data", "errors", "measures", "pictures", "results", "style"]
