"""Figures: data in, Figure out. style (sizes, colours, saving), data, pictures, results."""

from . import data, pictures, results, style

__all__ = ["data", "pictures", "results", "style"]
