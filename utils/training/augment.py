"""The augmentation layer: random framing, focus, exposure and noise, for a whole batch at once.

It stands in front of the network during training only. It runs on the device, like the network, and
its random state is a variable, saved with the rest of the training.

The random crop with a random aspect ratio: Szegedy et al. 2015, "Going deeper with convolutions",
section 6. Why the aspect ratio matters here: notebook 6.
"""

from ..backend import keras
from ..resample import crop, resize

ops = keras.ops
PI = 3.141592653589793
KNOTS = 16  # parts of the curve that exchanges tones


class Augment(keras.layers.Layer):
    """Change each picture a little, differently each time; without training=True, only resize it.

    Input: grey pictures, uint8 or float [n, 224, 224] in 0-255.
    Output: float32 [n, side, side, 1] in 0-255.

    side: pixels. The other arguments are the fields of the same names of `recipes.Recipe`. seed:
    whole number; the same seed gives the same changes.
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
        curve=0.0,
        unevenness=0.0,
        sharpening=0.0,
        marks=0.0,
        borders=0.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.side, self.area, self.aspect, self.shift, self.rotation = side, area, aspect, shift, rotation
        self.blur, self.noise, self.contrast, self.brightness = blur, noise, contrast, brightness
        self.exchange, self.curve = exchange, curve
        self.unevenness, self.sharpening = unevenness, sharpening
        self.marks, self.borders = marks, borders
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
        area = self.draw(n, *self.area)
        stretch = ops.exp(self.draw(n, ops.log(self.aspect[0]), ops.log(self.aspect[1])) / 2)
        height, width = ops.sqrt(area) / stretch, ops.sqrt(area) * stretch
        if self.area[1] <= 1:  # zooming in only: the window stays inside the picture
            height, width = ops.minimum(height, 1.0), ops.minimum(width, 1.0)
        # Focus: the window is resized a little softer than need be.
        softness = self.draw(n, 1.0, 1.0 + self.blur)
        x = crop(x, self.centre(n, height), self.centre(n, width), height, width, softness, self.side)
        x = x[..., None]  # [n, side, side, 1]
        if self.rotation:
            x = self.rotate(x, n)
        # Tones, in ways that standardising the picture afterwards does not undo.
        if self.exchange:
            x = self.exchange_tones(x, n)
        if self.curve:
            x = self.bend_tones(x, n)
        if self.unevenness:
            x = x + self.uneven_exposure(n)
        if self.marks:
            x = self.add_mark(x, n)
        if self.borders:
            x = self.add_borders(x, n)
        if self.sharpening:  # unsharp masking: what a blurred copy lacks is added
            softer = ops.average_pool(x, 5, strides=1, padding="same")
            x = x + self.draw(n, 0.0, self.sharpening)[..., None] * (x - softer)
        # Exposure: contrast about middle grey, then brightness.
        if self.contrast or self.brightness:
            factor = self.draw(n, 1 - self.contrast, 1 + self.contrast)[..., None]
            offset = 255 * self.draw(n, -self.brightness, self.brightness)[..., None]
            x = (x - 127.5) * factor + 127.5 + offset
        # Noise, as from a lower dose: its strength is drawn for each picture, its values for each pixel.
        if self.noise:
            deviation = self.draw(n, 0.0, self.noise)[..., None]
            x = x + deviation * keras.random.normal(ops.shape(x), seed=self.random)
        return ops.clip(x, 0.0, 255.0)

    def draw(self, n, low, high):
        """Uniform random numbers, one a picture: [n, 1, 1]."""
        return low + (high - low) * keras.random.uniform((n, 1, 1), seed=self.random)

    def centre(self, n, extent):
        """Where the window's centre lies, in 0-1: anywhere the window fits, plus the extra shift."""
        room = ops.maximum(1.0 - extent, 0.0) / 2 + self.shift
        return 0.5 + room * self.draw(n, -1.0, 1.0)

    def rotate(self, x, n):
        """Rotate [n, side, side, 1] about the centre by up to `rotation` degrees; edges are repeated."""
        angle = self.draw(n, -self.rotation, self.rotation)[:, :, 0] * (PI / 180)
        cos, sin, zero = ops.cos(angle), ops.sin(angle), ops.zeros_like(angle)
        # Keras turns about the corner; the two offsets move the centre back to where it was.
        middle = (self.side - 1) / 2
        across = middle - middle * cos + middle * sin
        down = middle - middle * sin - middle * cos
        transform = ops.concatenate([cos, -sin, across, sin, cos, down, zero, zero], axis=-1)  # [n, 8]
        return ops.image.affine_transform(x, transform, interpolation="bilinear", fill_mode="nearest")

    def exchange_tones(self, x, n):
        """Move the quantiles of each picture's grey levels towards those of its neighbour in the batch."""
        seen = len(range(0, self.side, 3)) ** 2  # every third pixel each way is enough
        pixels = ops.sort(ops.reshape(x[:, ::3, ::3], (n, seen)), axis=-1)
        at = [round(k * (seen - 1) / KNOTS) for k in range(KNOTS + 1)]
        own = ops.take(pixels, at, axis=1)[..., None, None, None]  # [n, KNOTS + 1, 1, 1, 1]
        share = self.draw(n, 0.0, self.exchange)[..., None, None]
        new = own + share * (ops.roll(own, 1, axis=0) - own)
        y = new[:, 0]
        for k in range(KNOTS):  # a straight line from each quantile to the next
            width = own[:, k + 1] - own[:, k]
            slope = (new[:, k + 1] - new[:, k]) / ops.maximum(width, 1e-3)
            y = y + slope * ops.clip(x - own[:, k], 0.0, width)
        return y

    def bend_tones(self, x, n):
        """A random monotone curve through black and white, of two sine waves: [n, side, side, 1]."""
        t = ops.clip(x / 255, 0.0, 1.0)
        for waves in (1, 2):
            height = self.draw(n, -self.curve, self.curve)[..., None] / (2 * PI * waves)
            x = x + 255 * height * ops.sin(PI * waves * t)
        return x

    def uneven_exposure(self, n):
        """Slow random waves over the picture, in grey levels: [n, side, side, 1]."""
        heights = keras.random.uniform((n, 3, 3), -1.0, 1.0, seed=self.random)
        heights = heights * ops.array([[0.0, 1, 1], [1, 1, 1], [1, 1, 1]])  # without the constant
        waves = ops.cos(PI * ops.arange(3, dtype="float32")[:, None] * self.places())  # [3, side]
        field = ops.matmul(ops.transpose(waves), ops.matmul(heights, waves))  # [n, side, side]
        field = field / ops.max(ops.abs(field), axis=(1, 2), keepdims=True)
        return (255 * self.draw(n, 0.0, self.unevenness) * field)[..., None]

    def add_mark(self, x, n):
        """With a chance of `marks`, a bright striped patch, as a letter or a line of text, near the edges."""

        def near(axis):
            centre = 0.5 + ops.sign(self.draw(n, -1.0, 1.0)) * self.draw(n, 0.2, 0.45)
            return ops.abs(ops.expand_dims(self.places(), axis) - centre) < self.draw(n, 0.02, 0.1)

        stripes = ops.sin(2 * PI * self.draw(n, 10.0, 40.0) * self.places()) > 0  # [n, 1, side]
        there = ops.logical_and(near(0), stripes)
        there = ops.logical_and(ops.logical_and(there, near(1)), self.draw(n, 0.0, 1.0) < self.marks)
        there = ops.cast(there, "float32")[..., None]
        return x + there * (self.draw(n, 180.0, 255.0)[..., None] - x)

    def add_borders(self, x, n):
        """Black bands at the edges, each with a chance of 1/2, up to `borders` of the side wide."""

        def inside(places):
            low, high = (self.draw(n, -self.borders, self.borders) for _ in range(2))
            return ops.logical_and(places >= low, places <= 1 - high)

        kept = ops.logical_and(inside(self.places()[:, None]), inside(self.places()))
        return x * ops.cast(kept, "float32")[..., None]

    def places(self):
        """The middle of each output pixel along one axis, in 0-1: [side]."""
        return (ops.arange(self.side, dtype="float32") + 0.5) / self.side


class MixStyle(keras.layers.Layer):
    """Mix the mean and the deviation of each channel with those of another picture of the batch.

    Features [n, height, width, channels], of half of the pictures, in training only. Zhou et al. 2021,
    "Domain generalization with MixStyle": such statistics tell the style of a picture, not what is in it.
    alpha: of the Beta distribution of the share that stays. seed: as of `Augment`.
    """

    def __init__(self, alpha, seed=0, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.alpha, self.random = alpha, keras.random.SeedGenerator(seed)

    def call(self, x, training=False):
        if not training:
            return x
        shape = (ops.shape(x)[0], 1, 1, 1)
        mean, variance = (ops.stop_gradient(v) for v in ops.moments(x, axes=(1, 2), keepdims=True))
        deviation = ops.sqrt(variance + 1e-6)
        stays = keras.random.beta(shape, self.alpha, self.alpha, seed=self.random)
        stays = ops.where(keras.random.uniform(shape, seed=self.random) < 0.5, stays, 1.0)
        # The order of a batch is random: the next picture is any other one.
        mixed = [stays * own + (1 - stays) * ops.roll(own, 1, axis=0) for own in (mean, deviation)]
        return (x - mean) / deviation * mixed[1] + mixed[0]
