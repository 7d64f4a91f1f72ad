"""The augmentation: random framing, focus, tones, exposure and noise, for a whole batch at once.

One layer, which stands in front of the network during training only. It runs on the device, like the
network, and its random state is a variable, kept with the rest of the training.

The random crop with a random aspect ratio: Szegedy et al. 2015, "Going deeper with convolutions",
section 6. Why the aspect ratio matters here: notebook 6.
"""

import math

from ..backend import keras
from ..resample import crop, resize

ops = keras.ops
PARTS = 16  # straight parts of the curve that exchanges tones


class Augment(keras.layers.Layer):
    """Change each picture a little, differently each time; without training=True, only resize it.

    Input: grey pictures, uint8 or float [n, 224, 224] in 0-255.
    Output: float32 [n, side, side, 1] in 0-255.

    side: pixels. seed: whole number; the same seed gives the same changes. The other arguments are the
    fields of the same names of `recipes.Recipe`, explained there; by default nothing is changed.
    """

    def __init__(
        self,
        side,
        area=(1.0, 1.0),
        aspect=(1.0, 1.0),
        shift=0.0,
        rotation=0.0,
        blur=0.0,
        noise=0.0,
        contrast=0.0,
        brightness=0.0,
        exchange=0.0,
        unevenness=0.0,
        sharpening=0.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.side, self.area, self.aspect, self.shift, self.rotation = side, area, aspect, shift, rotation
        self.blur, self.noise, self.contrast, self.brightness = blur, noise, contrast, brightness
        self.exchange, self.unevenness, self.sharpening = exchange, unevenness, sharpening
        self.supports_jit = not rotation  # XLA cannot compile TensorFlow's rotation; Keras asks here
        self.random = keras.random.SeedGenerator(seed)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.side, self.side, 1)

    def call(self, pictures, training=False):
        if not training:
            return resize(pictures, self.side)
        x = ops.cast(pictures, "float32")  # [n, 224, 224]
        n = ops.shape(x)[0]
        # The window: a share of the picture's area, and a shape. The logarithm makes 2/3 and 3/2
        # equally likely. Squashed to a square, the shape is no longer a clue.
        area = self.uniform(n, *self.area)
        stretch = ops.exp(self.uniform(n, ops.log(self.aspect[0]), ops.log(self.aspect[1])) / 2)
        height, width = ops.sqrt(area) / stretch, ops.sqrt(area) * stretch
        if self.area[1] <= 1:  # zooming in only: the window stays inside the picture
            height, width = ops.minimum(height, 1.0), ops.minimum(width, 1.0)
        # Focus: the window is resized a little softer than need be.
        softness = self.uniform(n, 1.0, 1.0 + self.blur)
        x = crop(x, self.centre(n, height), self.centre(n, width), height, width, softness, self.side)
        x = x[..., None]  # [n, side, side, 1]
        if self.rotation:
            x = self.rotate(x, n)
        # Tones, in ways that standardising the picture afterwards does not undo.
        if self.exchange:
            x = self.exchange_tones(x, n)
        if self.unevenness:
            x = x + self.uneven_exposure(n)
        if self.sharpening:  # unsharp masking: what a blurred copy lacks is added
            softer = ops.average_pool(x, 5, strides=1, padding="same")
            x = x + self.uniform(n, 0.0, self.sharpening)[..., None] * (x - softer)
        # Exposure: contrast about middle grey, then brightness.
        if self.contrast or self.brightness:
            factor = self.uniform(n, 1 - self.contrast, 1 + self.contrast)[..., None]
            offset = 255 * self.uniform(n, -self.brightness, self.brightness)[..., None]
            x = (x - 127.5) * factor + 127.5 + offset
        # Noise, as from a lower dose: one strength for each picture, one value for each pixel.
        if self.noise:
            deviation = self.uniform(n, 0.0, self.noise)[..., None]
            x = x + deviation * keras.random.normal(ops.shape(x), seed=self.random)
        return ops.clip(x, 0.0, 255.0)

    def uniform(self, n, low, high):
        """Uniform random numbers, one a picture: [n, 1, 1]."""
        return low + (high - low) * keras.random.uniform((n, 1, 1), seed=self.random)

    def centre(self, n, extent):
        """Where the window's centre lies, in 0-1: anywhere the window fits, plus the extra shift."""
        room = ops.maximum(1.0 - extent, 0.0) / 2 + self.shift
        return 0.5 + room * self.uniform(n, -1.0, 1.0)

    def rotate(self, x, n):
        """Rotate [n, side, side, 1] about the centre by up to `rotation` degrees; edges are repeated."""
        angle = self.uniform(n, -self.rotation, self.rotation)[:, :, 0] * (math.pi / 180)
        cos, sin, zero = ops.cos(angle), ops.sin(angle), ops.zeros_like(angle)
        # Keras turns about the corner; the two offsets move the centre back to where it was.
        middle = (self.side - 1) / 2
        across = middle - middle * cos + middle * sin
        down = middle - middle * sin - middle * cos
        transform = ops.concatenate([cos, -sin, across, sin, cos, down, zero, zero], axis=-1)  # [n, 8]
        return ops.image.affine_transform(x, transform, interpolation="bilinear", fill_mode="nearest")

    def exchange_tones(self, x, n):
        """Move the quantiles of each picture's grey levels towards those of its neighbour in the batch."""
        count = len(range(0, self.side, 3)) ** 2  # every third pixel each way is enough
        pixels = ops.sort(ops.reshape(x[:, ::3, ::3], (n, count)), axis=-1)
        ranks = [round(k * (count - 1) / PARTS) for k in range(PARTS + 1)]
        own = ops.take(pixels, ranks, axis=1)[..., None, None, None]  # quantiles, [n, PARTS + 1, 1, 1, 1]
        share = self.uniform(n, 0.0, self.exchange)[..., None, None]
        new = own + share * (ops.roll(own, 1, axis=0) - own)  # roll: the neighbour's
        y = new[:, 0]
        for k in range(PARTS):  # a straight line from each quantile to the next
            width = own[:, k + 1] - own[:, k]
            slope = (new[:, k + 1] - new[:, k]) / ops.maximum(width, 1e-3)
            y = y + slope * ops.clip(x - own[:, k], 0.0, width)
        return y

    def uneven_exposure(self, n):
        """Slow random waves over the picture, in grey levels: [n, side, side, 1]."""
        heights = keras.random.uniform((n, 3, 3), -1.0, 1.0, seed=self.random)
        heights = heights * ops.array([[0.0, 1, 1], [1, 1, 1], [1, 1, 1]])  # without the constant
        places = (ops.arange(self.side, dtype="float32") + 0.5) / self.side  # of pixels, in 0-1
        waves = ops.cos(math.pi * ops.arange(3, dtype="float32")[:, None] * places)  # [3, side]
        field = ops.matmul(ops.transpose(waves), ops.matmul(heights, waves))  # [n, side, side]
        field = field / ops.max(ops.abs(field), axis=(1, 2), keepdims=True)
        return (255 * self.uniform(n, 0.0, self.unevenness) * field)[..., None]
