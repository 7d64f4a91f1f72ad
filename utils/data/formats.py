"""Which files may be radiographs, and the errors that say why data cannot be used."""

from ..workspace import ExplainedError

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".dcm")
DECODED = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")  # by Pillow, whatever the file is called
MAX_PIXELS = 100_000_000  # larger files are refused before they are decoded
TOO_LARGE = f"it has too many pixels, more than {MAX_PIXELS / 1e6:.0f} million"


class DataError(ExplainedError):
    """Radiographs or a manifest cannot be used; the message says what was looked for, where, what to do."""


class UnreadableImage(DataError):
    """One file that cannot be read as a radiograph; the message is the reason, in plain words."""
