"""Figures: data in, Figure out. style (sizes, colours, saving), data, pictures, results, errors, stress."""

from . import data, errors, pictures, results, stress, style

__all__ = ["data", "errors", "pictures", "results", "stress", "style"]
