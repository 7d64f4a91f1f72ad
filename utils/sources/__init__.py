"""Where radiographs come from: files, drive, own_data, phantom; `load` finds them."""

from .radiographs import Radiographs, at_hand, choose, find, load, open_files

__all__ = ["Radiographs", "at_hand", "choose", "find", "load", "open_files"]
