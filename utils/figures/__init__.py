"""Figures: data in, Figure out. style (sizes, colours, saving), data, pictures, results, errors."""

from . import data, errors, pictures, results, style

__all__ = ["data", "errors", "pictures", "results", "style"]
