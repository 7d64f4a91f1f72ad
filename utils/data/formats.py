"""Old names, until nothing imports them any more."""

from ..workspace import ExplainedError
from . import images, manifest
from .images import SUFFIXES  # noqa: F401

DataError = UnreadableImage = ExplainedError
images.UnreadableImage = manifest.DataError = ExplainedError
