"""What a saved model from anybody holds, inspected before Keras sees it.

A `.keras` file is a zip of a configuration (JSON) and weights (HDF5); a `.h5` file is HDF5 with the
configuration as an attribute. Either can be made to run code, to read other files of this machine, or to
fill its memory. So only configuration and weights are taken and checked, and Keras opens a copy made of
them. What is asked of the optimizer, and vocabularies, never reach Keras.

Not covered: faults of the HDF5 library itself, and lists of names that share one enormous text.
"""

import json
import lzma
import shutil
import zipfile
import zlib

import h5py

from .model_config import ModelError, cleaned

LARGEST = 5e9  # bytes of a file; the largest network of keras.applications, with its optimizer, has 4.2e9
LONGEST = 16e6  # bytes of a configuration; a usual one has 1e4 to 2e6
PARTS = 100_000  # in a file; a usual one has 10 to 5,000
PACKED = 20  # times; weights are numbers without pattern, packing them saves little
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
NUMBERS = "biufV"  # kinds of numpy's types

DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, KeyError, ValueError, TypeError)
DAMAGE += (AttributeError, RuntimeError)  # h5py's and zipfile's words for what they cannot read


def inspect(path, folder):
    """Copy what Keras needs of a saved model into `folder`, checked.

    path: a `.keras` or `.h5` file of any version, recognised by its content. Returns the path of the copy,
    and its configuration as dictionaries. Raises ModelError if the file is missing, damaged, of another
    format, or asks for more than a network.
    """
    if path.is_dir() or path.suffix.lower() not in (".keras", ".h5", ".hdf5"):
        raise ModelError(
            f"{path} is no .keras or .h5 file. Load it where it was made and save it with "
            "model.save('model.keras')."
        )
    if not path.exists():
        raise ModelError(f"No saved model at {path}. Notebook 03 trains one.")
    if not path.is_file():  # a pipe or a device: reading it may never end
        raise ModelError(f"{path} is not an ordinary file. Copy the saved model to a folder of your own.")
    if path.stat().st_size > LARGEST:
        raise ModelError(f"{path} has {path.stat().st_size / 1e9:.1f} GB. {_TOO_LARGE}")
    try:
        with open(path, "rb") as file:
            start = file.read(2)
        if not start:
            raise EOFError("it is empty")
        return _from_zip(path, folder) if start == b"PK" else _from_hdf5(path, folder)
    except ModelError as error:
        raise ModelError(f"{path.name} {error}") from None
    except (RecursionError, MemoryError):
        raise ModelError(f"{path.name} is nested too deeply for a network. {_NO_NETWORK}") from None
    except DAMAGE as error:
        raise ModelError(f"{path} is not a complete {path.suffix} file ({error}). Copy it again.") from None


_NO_NETWORK = "No ordinary network is saved so: do not use it, ask the person it comes from."
_TOO_LARGE = f"Files of up to {LARGEST / 1e9:.0f} GB are opened; save it without the optimizer."


def _from_zip(path, folder):
    if not zipfile.is_zipfile(path):
        raise zipfile.BadZipFile("its end is missing")
    with open(path, "rb") as file:
        if zipfile._EndRecData(file)[zipfile._ECD_SIZE] > LONGEST:  # the list of its members
            raise ModelError(f"has too many members. {_NO_NETWORK}")
    copy, weights = folder / "model.keras", folder / WEIGHTS
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as clean:
        config = _config(archive.open(CONFIG).read(int(LONGEST) + 1))
        if archive.getinfo(WEIGHTS).file_size > PACKED * path.stat().st_size:
            raise ModelError(f"unpacks to far more than it holds. {_NO_NETWORK}")
        with archive.open(WEIGHTS) as packed, open(weights, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        clean.writestr(CONFIG, json.dumps(config))
        clean.write(weights, WEIGHTS)
    with h5py.File(weights) as file:
        _check(file, weights.stat().st_size)
    weights.unlink()
    return copy, config


def _from_hdf5(path, folder):
    copy = shutil.copyfile(path, folder / "model.h5")
    with h5py.File(copy, "r+") as file:
        _check(file, path.stat().st_size)
        if "model_config" not in file.attrs:
            raise ModelError(
                "holds weights only. Save the whole model where it was made, with model.save('model.keras')."
            )
        config = _config(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(config)
    return copy, config


def _check(file, size):
    """Raise ModelError if an open HDF5 file of `size` bytes leads elsewhere, or unfolds to far more."""
    seen, whole = [], [0]

    # What such a function returns ends the walk; h5py does not survive an error raised in it.
    def leads_away(name, link):
        seen.append(name)
        return name if len(seen) > PARTS or not isinstance(link, h5py.HardLink) else None

    def is_no_weight(name, part):
        if isinstance(part, h5py.Dataset):
            whole[0] += part.nbytes
            return name if part.external or part.is_virtual or part.dtype.kind not in NUMBERS else None

    found = file.visititems_links(leads_away) or file.visititems(is_no_weight)
    if found:
        raise ModelError(f"has too many parts, or one that is no weight ({found!r}). {_NO_NETWORK}")
    if whole[0] > PACKED * size:
        raise ModelError(f"unfolds to {whole[0] / 1e9:,.1f} GB, far more than it holds. {_NO_NETWORK}")


def _config(text):
    """The configuration of the network alone, from JSON."""
    if len(text) > LONGEST:
        raise ModelError(f"has a configuration of more than {LONGEST / 1e6:.0f} MB. {_NO_NETWORK}")
    return cleaned(json.loads(text))
