"""A DICOM radiograph -> uint8 grey picture. Nothing else of the header leaves this module."""

import io
import logging
import re
import warnings

import numpy as np

from ..workspace import ExplainedError

RADIOGRAPHY = ("CR", "DX", "RG")  # modalities of radiographs: computed, digital, on film
LATERAL = ("LL", "RL", "LATERAL", "LAT")
YEARS = {"Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # units of an age (DICOM PS3.5, 6.2)
MISSING = (  # packages of the people who keep pydicom; the last three open compressed files
    "for DICOM files, run %pip install pydicom pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg in a cell, and "
    "then this notebook again"
)
UNUSABLE = "the DICOM file is damaged, or of a rare kind; if a viewer opens it, export it as PNG"
# What these packages have to say may quote the header.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"(pydicom|pylibjpeg)\b")


def is_dicom(raw):
    """Whether a file's bytes are DICOM: with its preamble, or beginning with a header group without one."""
    return raw[128:132] == b"DICM" or (raw[:2] in (b"\x02\0", b"\x08\0") and raw[3:4] == b"\0")


def read(raw):
    """The picture of a DICOM file's bytes, as uint8 grey [height, width], bones bright.

    The modality transform (rescale or table) and the first window or table for display are applied
    (DICOM PS3.4, N.2), MONOCHROME1 is inverted, and the grey values are stretched to 0-255. Raises
    ExplainedError with a reason that quotes nothing from the header.
    """
    try:
        import pydicom
        from pydicom import pixels
    except ImportError:
        raise ExplainedError(MISSING) from None
    try:
        data = pydicom.dcmread(io.BytesIO(raw), force=True)
        _check(data)
        if "TransferSyntaxUID" not in data.file_meta:  # as in files without preamble
            with_types = not data.original_encoding[0]
            syntax = pydicom.uid.ExplicitVRLittleEndian if with_types else pydicom.uid.ImplicitVRLittleEndian
            data.file_meta.TransferSyntaxUID = syntax
        values = data.pixel_array
        grey = pixels.apply_voi_lut(pixels.apply_modality_lut(values, data), data).astype(np.float64)
    except ExplainedError:
        raise
    except Exception as error:  # of many kinds; what they say may quote the header
        raise ExplainedError(MISSING if "missing dependencies" in str(error) else UNUSABLE) from None
    inside = np.ones(values.shape, bool)
    if "PixelPaddingValue" in data:  # what the detector did not cover
        inside = values != data.PixelPaddingValue
    if not inside.any() or np.ptp(grey[inside]) == 0:
        raise ExplainedError("the picture is one single shade of grey")
    low, high = grey[inside].min(), grey[inside].max()
    shade = np.clip((grey - low) / (high - low), 0, 1)
    if data.PhotometricInterpretation == "MONOCHROME1":
        shade = 1 - shade
    return np.round(255 * np.where(inside, shade, 0)).astype(np.uint8)


def _check(data):
    """Raise ExplainedError if this is no single frontal radiograph, as far as the header says."""
    modality = str(data.get("Modality", ""))
    if modality and modality not in RADIOGRAPHY:
        raise ExplainedError(f"its header says that it is not a radiograph ({', '.join(RADIOGRAPHY)})")
    if data.get("ViewPosition") in LATERAL:
        raise ExplainedError(
            "its header says that it is a lateral view; networks here know frontal ones only"
        )
    grey = str(data.PhotometricInterpretation).startswith("MONOCHROME")
    if not grey or int(data.get("NumberOfFrames") or 1) > 1:
        raise ExplainedError("it holds several pictures, or one in colour; export the one you mean as PNG")


def beyond(raw):
    """Why a DICOM file is no AP view of a child of 1 to 5 years; empty if its header does not tell.

    raw: the file's bytes. The words quote nothing from the header.
    """
    import pydicom

    header = pydicom.dcmread(io.BytesIO(raw), stop_before_pixels=True, force=True)
    age = re.fullmatch(r"(\d{1,3})([DWMY])", str(header.get("PatientAge", "")))
    if age and not 1 <= int(age[1]) * YEARS[age[2]] < 6:
        return "its header gives an age outside 1 to 5 years"
    if header.get("ViewPosition") == "PA":
        return "its header says that it is a PA view, taken from behind"
    return ""
