"""The augmentation layer: random framing, focus, exposure and noise, for a whole batch at once."""

from .images import SIDE
from .quiet import keras

ops = keras.ops


class Augment(keras.layers.Layer):
    """Random crops with random aspect ratio, and more; at rest, a plain antialiased resize.

    Input: grey pictures, uint8 or float [batch, 224, 224] in 0-255.
    Output: float32 [batch, side, side, 1] in 0-255.

    Resampling is a product with one matrix per axis: each output pixel is a triangle-weighted
    mean of input pixels, as wide as the reduction needs, so nothing is aliased, and blurring
    costs nothing. With training=False the result equals Pillow's bilinear resize.
    The random crop follows Szegedy et al. 2015 ("Going deeper with convolutions", section 6).

    The arguments are the fields of the same names of `training.Recipe`. The random state is a
    variable of this layer, saved with the rest of the training.
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
        seed=0,
        **kwargs,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.side, self.area, self.aspect, self.shift, self.rotation = side, area, aspect, shift, rotation
        self.blur, self.noise, self.contrast, self.brightness = blur, noise, contrast, brightness
        self.supports_jit = not rotation  # XLA cannot compile TensorFlow's rotation; Keras asks here
        self.random = keras.random.SeedGenerator(seed)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.side, self.side, 1)

    def call(self, pictures, training=False):
        x = ops.cast(pictures, "float32")
        n = ops.shape(x)[0]
        if not training:
            whole = ops.ones((n, 1, 1))
            return self._resample(x, whole / 2, whole / 2, whole, whole, whole)[..., None]
        area = self._draw(n, *self.area)
        stretch = ops.exp(self._draw(n, ops.log(self.aspect[0]), ops.log(self.aspect[1])) / 2)
        height, width = ops.sqrt(area) / stretch, ops.sqrt(area) * stretch
        if self.area[1] <= 1:
            height, width = ops.minimum(height, 1.0), ops.minimum(width, 1.0)
        softness = self._draw(n, 1.0, 1.0 + self.blur)
        x = self._resample(x, self._centre(n, height), self._centre(n, width), height, width, softness)
        x = x[..., None]
        if self.rotation:
            x = self._rotate(x, n)
        if self.contrast or self.brightness:
            factor = self._draw(n, 1 - self.contrast, 1 + self.contrast)[..., None]
            offset = 255 * self._draw(n, -self.brightness, self.brightness)[..., None]
            x = (x - 127.5) * factor + 127.5 + offset
        if self.noise:
            deviation = self._draw(n, 0.0, self.noise)[..., None]
            x = x + deviation * keras.random.normal(ops.shape(x), seed=self.random)
        return ops.clip(x, 0.0, 255.0)

    def _draw(self, n, low, high):
        """Uniform random numbers [n, 1, 1]."""
        return low + (high - low) * keras.random.uniform((n, 1, 1), seed=self.random)

    def _centre(self, n, extent):
        """Where the crop's centre lies, in 0-1: anywhere the crop fits, plus the extra shift."""
        room = ops.maximum(1.0 - extent, 0.0) / 2 + self.shift
        return 0.5 + room * self._draw(n, -1.0, 1.0)

    def _resample(self, x, centre_y, centre_x, height, width, softness):
        """Crop and resize [n, 224, 224] to [n, side, side]."""
        rows = self._weights(centre_y, height, softness)
        columns = self._weights(centre_x, width, softness)
        return ops.matmul(ops.matmul(rows, x), ops.transpose(columns, (0, 2, 1)))

    def _weights(self, centre, extent, softness):
        """Resampling weights of one axis: [n, side, 224], each row sums to 1."""
        step = extent * SIDE / self.side  # input pixels per output pixel, [n, 1, 1]
        radius = ops.maximum(step, 1.0) * softness
        out = ops.arange(self.side, dtype="float32")[None, :, None] - (self.side - 1) / 2
        at = ops.clip(centre * SIDE - 0.5 + out * step, 0.0, SIDE - 1.0)
        away = ops.abs(ops.arange(SIDE, dtype="float32")[None, None, :] - at)
        weights = ops.maximum(1.0 - away / radius, 0.0)
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    def _rotate(self, x, n):
        """Rotate about the centre by up to `rotation` degrees; edges are repeated."""
        angle = self._draw(n, -self.rotation, self.rotation)[:, :, 0] * (3.141592653589793 / 180)
        cos, sin, zero = ops.cos(angle), ops.sin(angle), ops.zeros_like(angle)
        middle = (self.side - 1) / 2
        across = middle - middle * cos + middle * sin
        down = middle - middle * sin - middle * cos
        transform = ops.concatenate([cos, -sin, across, sin, cos, down, zero, zero], axis=-1)
        return ops.image.affine_transform(x, transform, interpolation="bilinear", fill_mode="nearest")
