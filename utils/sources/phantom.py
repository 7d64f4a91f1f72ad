"""The phantom: deterministic synthetic radiographs under the public archive's naming.

For tests and for a first run without data. Learnable but not trivial, so that errors and
confidence intervals are exercised. Nothing measured on it says anything about pneumonia.
"""

import io

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from ..data import images, manifest
from ..workspace import write_whole

SIDE = 192  # pixels
MARK = "phantom-"  # begins every patient of a phantom's manifest, so that it is known wherever it goes


def write_phantom(folder, patients):
    """Write radiographs of `patients` patients and their manifest into `folder`; return the manifest.

    A quarter of the patients form the test split. Most have one image, some two or three.
    """
    rng = np.random.default_rng(2018)
    rows, pictures = [], []
    for number in range(1, patients + 1):
        subtype = ("IM", "NORMAL2-IM", "bacteria", "virus")[number % 4]
        ill = subtype in ("bacteria", "virus")
        split, label = "test" if number <= patients // 4 else "train", manifest.CLASS_NAMES[ill]
        for shot in range(1, 1 + rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1))):
            name = f"person{number}_{subtype}_{shot}" if ill else f"{subtype}-{number:04d}-{shot:04d}"
            encoded = io.BytesIO()
            Image.fromarray(_chest(rng, subtype)).save(encoded, "JPEG", quality=90)
            path = f"{split}/{label}/{name}.jpeg"
            write_whole(folder / path, encoded.getvalue())
            rows.append((path, split, label, subtype, f"{MARK}{subtype}-{number}"))
            pictures.append(images.squash(images.read(encoded.getvalue())))
    table = pd.DataFrame(rows, columns=["path", "split", "label", "subtype", "patient"])
    table = manifest.complete(table, images.fingerprint(np.stack(pictures)))
    manifest.write(table, folder / manifest.PUBLIC.name)
    return table


def _chest(rng, subtype):
    """One picture, uint8 [SIDE, width]: body, two lungs, heart, ribs; opacities if `subtype` is ill."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    x = x + rng.normal(0, 0.06)
    size = rng.uniform(0.85, 1.1)
    body = np.clip(1.3 - 0.6 * np.abs(x) ** 4 - 0.1 * y, 0, 1) * 165
    lungs = sum(_ellipse(x, y, side * 0.4, -0.05, 0.29 * size, 0.62 * size) for side in (-1, 1))
    heart = _ellipse(x, y, 0.14, 0.25, 0.3 * size, 0.34 * size)
    ribs = 0.5 + 0.5 * np.cos(2 * np.pi * (5.5 * (y + 0.25 * x**2) + rng.uniform()))
    picture = body - 95 * lungs + 60 * heart * lungs + 14 * ribs * lungs
    texture = gaussian_filter(rng.normal(0, 1, picture.shape), 5)
    picture += 9 * texture / texture.std()
    strength = rng.gamma(3.0, 0.28)  # some illness is too faint to see
    if subtype == "bacteria":  # one lobe
        spot = rng.choice((-1, 1)) * 0.38, rng.uniform(-0.4, 0.4)
        picture += 60 * strength * lungs * _ellipse(x, y, *spot, 0.22, 0.26)
    elif subtype == "virus":  # both lungs, patchy
        patches = np.clip(gaussian_filter(rng.normal(0, 1, picture.shape), 9) * 16, 0, 1)
        picture += 42 * strength * lungs * patches
    else:  # healthy lungs have vessels that a network may take for illness
        picture += 22 * rng.uniform() * lungs * _ellipse(x, y, rng.choice((-1, 1)) * 0.3, 0.1, 0.2, 0.3)
    picture = picture * rng.uniform(0.8, 1.15) + rng.normal(0, 8) + rng.normal(0, 5, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _ellipse(x, y, at_x, at_y, radius_x, radius_y):
    """A soft-edged ellipse with values in [0, 1]."""
    away = ((x - at_x) / radius_x) ** 2 + ((y - at_y) / radius_y) ** 2
    return 1 / (1 + np.exp(np.clip((away - 1) * 9, -50, 50)))
