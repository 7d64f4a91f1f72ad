"""Crop and resize a whole batch of radiographs at once, on the device, with any Keras backend.

The same in training, where each picture is cropped at random, and in prediction, where it is whole.
"""

from .backend import keras
from .data.images import SIDE

ops = keras.ops


def resize(pictures, side):
    """Whole pictures at the input size of a network: uint8 [n, 224, 224] -> float32 [n, side, side, 1].

    side: or (height, width). Equal to Pillow's antialiased bilinear resize. Values stay in 0-255.
    """
    x = ops.cast(pictures, "float32")
    whole = ops.ones((ops.shape(x)[0], 1, 1))
    return crop(x, whole / 2, whole / 2, whole, whole, whole, side)[..., None]


def crop(x, centre_y, centre_x, height, width, softness, side):
    """Cut a window out of each picture and resize it: float32 [n, 224, 224] -> [n, side, side].

    centre_y, centre_x, height, width: of the window, in shares of the picture; softness: 1 is sharp,
    above it blurs. All float [n, 1, 1]. Where the window leaves the picture, edges are repeated.
    """
    down, across = side if isinstance(side, tuple) else (side, side)
    rows = axis_weights(centre_y, height, softness, down)  # [n, side, 224]
    columns = axis_weights(centre_x, width, softness, across)
    return ops.matmul(ops.matmul(rows, x), ops.transpose(columns, (0, 2, 1)))


def axis_weights(centre, extent, softness, side):
    """Which input pixels make each output pixel along one axis: float [n, side, 224], rows sum to 1.

    A triangle as wide as the reduction needs, so nothing is aliased; a wider one blurs at no cost.
    """
    step = extent * SIDE / side  # input pixels per output pixel, [n, 1, 1]
    radius = ops.maximum(step, 1.0) * softness
    out = ops.arange(side, dtype="float32")[None, :, None] - (side - 1) / 2  # [1, side, 1]
    at = ops.clip(centre * SIDE - 0.5 + out * step, 0.0, SIDE - 1.0)  # in input pixels, [n, side, 1]
    away = ops.abs(ops.arange(SIDE, dtype="float32")[None, None, :] - at)  # [n, side, 224]
    weights = ops.maximum(1.0 - away / radius, 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)
