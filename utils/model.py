"""The networks: each is one function, to be read from top to bottom.

Every network takes grey pictures, float or uint8 [batch, side, side, 1] in 0-255, has its
normalisation inside, and returns float32 [batch, 2]: P(normal), P(pneumonia), summing to 1.
Only Keras' own layers are used, so a saved network opens without this project.

References
- convolutions, pooling, and dense layers on top: LeCun et al. 1998, "Gradient-based learning
  applied to document recognition"
- dropout: Srivastava et al. 2014; batch normalisation: Ioffe and Szegedy 2015
- global average pooling: Lin et al. 2014, "Network in network"

To add a network, write such a function and enter it in NETWORKS. Shapes in the comments are
[height, width, channels] of one picture, for the side that the function has by default.
"""

from .backend import keras

layers = keras.layers


def published(side=150, per_image=False):
    """The published network: four convolutions with max-pooling, two dense layers of 512.

    Published: the 150x150 grey input, four convolutional layers of growing depth, each with
    max-pooling, two dense layers of 512 with dropout, softmax over two classes.
    Left open by the publication, chosen by us: 3x3 kernels without padding, 32, 64, 128 and
    128 filters, ReLU, dropout of 0.5 after each dense layer, pixels scaled to 0-1.
    """
    inputs = keras.Input((side, side, 1), name="radiograph")  # [150, 150, 1], grey 0-255
    x = normalise(inputs, per_image)
    # A 3x3 kernel without padding loses one pixel at each edge; the pooling then halves the picture:
    # 150 -> 148 -> 74 -> 72 -> 36 -> 34 -> 17 -> 15 -> 7. Fewer pixels, more filters: where a sign
    # lies becomes less exact, what it is more so.
    for block, filters in enumerate((32, 64, 128, 128), start=1):
        x = layers.Conv2D(filters, 3, activation="relu", name=f"conv{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    # [7, 7, 128] -> [6272]. From here on each place in the picture has weights of its own: 3.2 of
    # the 3.7 million parameters belong to the first dense layer.
    x = layers.Flatten(name="flatten")(x)
    for block in (1, 2):
        x = layers.Dense(512, activation="relu", name=f"dense{block}")(x)  # [512]
        # In training, half of the values are set to 0 at random, so that none can be relied on alone.
        x = layers.Dropout(0.5, name=f"dropout{block}")(x)
    return keras.Model(inputs, two_classes(x), name="published")


def compact(side=150, per_image=True):
    """A small all-convolutional network, 0.52 million parameters, for training from scratch.

    A strided 5x5 stem, four blocks of 3x3 convolution, max-pooling, batch normalisation and ReLU,
    then global average pooling, which replaces the large dense layers and does not care where in
    the picture a sign lies.
    """
    inputs = keras.Input((side, side, 1), name="radiograph")  # [150, 150, 1], grey 0-255
    x = normalise(inputs, per_image)
    # The stem takes every second pixel, which leaves a quarter of the work to all layers behind it.
    x = layers.Conv2D(24, 5, strides=2, padding="same", use_bias=False, name="stem")(x)  # [75, 75, 24]
    x = layers.BatchNormalization(momentum=0.9, name="stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)
    for block, filters in enumerate((48, 96, 160, 224), start=1):
        # No bias: the normalisation behind it subtracts the mean and adds a bias of its own.
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{block}")(x)
        # [37, 37, 48], [18, 18, 96], [9, 9, 160], [4, 4, 224]. Pooling first leaves a quarter of the
        # values to normalise. Momentum 0.9: running means that follow a short training.
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)  # [224]: how much of each sign, wherever it is
    x = layers.Dropout(0.3, name="dropout")(x)
    return keras.Model(inputs, two_classes(x), name="compact")


def mobilenet(side=150, per_image=True):
    """MobileNetV2 (Sandler et al. 2018) as Keras has it, 2.3 million parameters, for weights from ImageNet.

    Its weights are random until a training gives it others, see `start_from` of a recipe.
    """
    inputs = keras.Input((side, side, 1), name="radiograph")  # [150, 150, 1], grey 0-255
    x = normalise(inputs, per_image)
    # ImageNet's pictures were given to it from -1 to 1, with a standard deviation of about 0.5.
    x = layers.Rescaling(*((0.5, 0) if per_image else (2, -1)), name="as_imagenet")(x)
    x = layers.Concatenate(name="grey_as_rgb")([x, x, x])  # [150, 150, 3]
    base = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=x)
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # as in `compact`; 0.999 there would take thousands of steps to follow
    x = layers.GlobalAveragePooling2D(name="average")(base.output)  # [5, 5, 1280] -> [1280]
    x = layers.Dropout(0.3, name="dropout")(x)
    return keras.Model(inputs, two_classes(x), name="mobilenet")


NETWORKS = {"published": published, "compact": compact, "mobilenet": mobilenet}


def normalise(x, per_image):
    """Pixels to 0-1; or each picture to mean 0 and standard deviation 1, whatever its exposure."""
    if per_image:
        # A layer normalisation over the whole picture without learned parameters; in float32, for a
        # mean over 22,500 pixels needs the digits.
        return layers.LayerNormalization(
            axis=(1, 2, 3), center=False, scale=False, dtype="float32", name="standardise"
        )(x)
    return layers.Rescaling(1 / 255, name="scale")(x)


def two_classes(x):
    """[features] -> [2]: two probabilities that sum to 1, in float32 so that small ones keep their digits."""
    return layers.Dense(2, activation="softmax", dtype="float32", name="normal_or_pneumonia")(x)


def parts(network):
    """All layers and operations of a network in the order of the computation, those of models inside, too."""
    if not hasattr(network, "layers"):
        yield network
        return
    for part in getattr(network, "operations", network.layers):
        yield from parts(part)


def in_float32(network):
    """The same network with the same weights, computing in float32 whatever it was trained in.

    This is what is saved and scored, so that scores do not depend on the training hardware.
    """

    def copied(layer):
        precision = {"dtype": "float32"} if isinstance(layer, layers.Layer) else {}  # sums have none
        return type(layer).from_config(layer.get_config() | precision)

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy
