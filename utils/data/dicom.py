"""A DICOM radiograph -> uint8 grey picture. Nothing else of the header leaves this module."""

import io
import logging
import re
import warnings

import numpy as np

from ..workspace import ExplainedError

# Modalities of sections, ultrasound, nuclear medicine, mammograms, photographs, masks; all others are read.
NO_RADIOGRAPHS = ("CT", "MR", "PT", "NM", "US", "IVUS", "MG", "ES", "OP", "OPT", "SM", "XC", "SEG")
LATERAL = ("LL", "RL", "LATERAL", "LAT")
# Words of a description that names a lateral view, and no frontal one beside it.
LATERAL_WORDS = re.compile(r"(?!.*\b(ap|pa|frontal)\b).*\blat(eral)?\b.*", re.IGNORECASE)
# Body parts in the standard's words (DICOM PS3.16, annex L); what is not listed may well be a chest.
OTHER_PARTS = re.compile("SKULL|HEAD|NECK|SHOULDER|ELBOW|WRIST|HAND|ABDOMEN|PELVIS|HIP|KNEE|ANKLE|FOOT")
YEARS = {"Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # units of an age (DICOM PS3.5, 6.2)
MAX_PIXELS = 60_000_000  # larger pictures are no radiographs, and would take gigabytes of memory
# Two sides that a compressed frame gives: those of JPEG and JPEG-LS, or those of JPEG 2000.
FRAME_SIZE = re.compile(rb"\xff[\xc0-\xc3\xf7]..[\x02-\x10](..)(..)|\xff\x51....(....)(....)", re.DOTALL)
COLOURED = 10  # grey levels of 256 between the channels, in the mean, from which a picture is in colour
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
    return raw[128:132] == b"DICM" or bool(re.match(rb"[\x02\x08]\0.\0|\0[\x02\x08]\0.", raw, re.DOTALL))


def read(raw):
    """The picture of a DICOM file's bytes, as uint8 grey [height, width], bones bright.

    The modality transform (rescale or table) and the first window or table for display are applied
    (DICOM PS3.4, N.2), MONOCHROME1 and an inverse presentation are inverted, and the grey values are
    stretched to 0-255. Grey that is stored as colour is read, too. Raises ExplainedError with a reason that
    quotes nothing from the header.
    """
    try:
        import pydicom
        from pydicom import pixels, uid
    except ImportError:
        raise ExplainedError(MISSING) from None
    try:
        data = pydicom.dcmread(io.BytesIO(raw), force=True)
        if "TransferSyntaxUID" not in data.file_meta:  # as in files without their own header
            implicit, little = data.original_encoding
            explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            data.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
        _check(data)
        values = data.pixel_array
        if data.PhotometricInterpretation == "PALETTE COLOR":
            values = pixels.apply_color_lut(values, data)
        if in_colour := values.ndim == 3:
            values = _luminance(values)
        if values.dtype.itemsize > 2:
            raise ExplainedError(UNUSABLE)
        # Each grey level is worked out once: pictures have many more pixels than levels.
        low = int(values.min())
        levels = np.arange(low, int(values.max()) + 1)
        if not in_colour:
            levels = pixels.apply_voi_lut(pixels.apply_modality_lut(levels, data), data)
    except ExplainedError:
        raise
    except Exception as error:  # of many kinds; what they say may quote the header
        raise ExplainedError(MISSING if "missing dependencies" in str(error) else UNUSABLE) from None
    places = values.astype(np.int32) - low  # of each pixel in `levels`
    used = np.bincount(places.ravel(), minlength=len(levels)) > 0
    if "PixelPaddingValue" in data:  # what the detector did not cover
        used[np.arange(low, low + len(levels)) == data.PixelPaddingValue] = False
    if not used.any() or np.ptp(levels[used]) == 0:
        raise ExplainedError("the picture is one single shade of grey")
    shade = (levels - levels[used].min()) / np.ptp(levels[used])
    if data.PhotometricInterpretation == "MONOCHROME1" or data.get("PresentationLUTShape") == "INVERSE":
        shade = 1 - shade
    return np.round(255 * np.where(used, shade, 0)).astype(np.uint8)[places]


def _check(data):
    """Raise ExplainedError if this is no single frontal radiograph, as far as the header says."""
    if str(data.get("Modality", "")) in NO_RADIOGRAPHS:
        raise ExplainedError("its header says that it is not a radiograph, but a section, scan or photograph")
    if data.get("ViewPosition") in LATERAL:
        raise ExplainedError("its header says that it is a lateral view; networks here know frontal ones")
    if "PixelData" not in data:
        raise ExplainedError("the DICOM file is cut off, or holds no picture")
    if int(data.get("NumberOfFrames") or 1) > 1:
        raise ExplainedError("it holds several pictures; export the one you mean as PNG")
    size = int(data.Rows) * int(data.Columns)
    if not data.file_meta.TransferSyntaxUID.is_encapsulated:
        if len(data.PixelData) < size * data.SamplesPerPixel * data.BitsAllocated // 8:
            raise ExplainedError("the DICOM file is cut off or damaged: a part of its picture is missing")
    elif found := FRAME_SIZE.search(data.PixelData):
        one, other = (int.from_bytes(side, "big") for side in found.groups() if side)
        size = max(size, one * other)
    if size > MAX_PIXELS:
        raise ExplainedError(f"the picture is too large; radiographs have less than {MAX_PIXELS:,} pixels")


def _luminance(values):
    """Grey that is stored as colour, [height, width, 3 or 4], as [height, width] of the same type."""
    colours = values[..., :3]
    if np.ptp(colours, axis=2).mean() > COLOURED * np.iinfo(values.dtype).max / 255:
        raise ExplainedError("its picture is in colour; radiographs are grey")
    return np.round(colours @ np.array([0.299, 0.587, 0.114], np.float32)).astype(values.dtype)


def beyond(raw):
    """Why a DICOM file is no AP view of a child of 1 to 5 years; empty if its header does not tell.

    raw: the file's bytes. The words quote nothing from the header.
    """
    import pydicom

    header = pydicom.dcmread(io.BytesIO(raw), stop_before_pixels=True, force=True)
    if OTHER_PARTS.fullmatch(str(header.get("BodyPartExamined"))):
        return "its header names another body part than the chest"
    if LATERAL_WORDS.fullmatch(f"{header.get('SeriesDescription')} {header.get('ProtocolName')}"):
        return "its header says that it is a lateral view"
    age = re.fullmatch(r"(\d{1,3})([DWMY])", str(header.get("PatientAge", "")))
    if age and not 1 <= int(age[1]) * YEARS[age[2]] < 6:
        return "its header gives an age outside 1 to 5 years"
    if header.get("ViewPosition") == "PA":
        return "its header says that it is a PA view, taken from behind"
    return ""
