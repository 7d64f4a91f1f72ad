"""A DICOM radiograph -> uint8 grey picture. Nothing else of the header leaves this module."""

import io
import logging
import re
import unicodedata
import warnings

import numpy as np

from .formats import MAX_PIXELS, TOO_LARGE, UnreadableImage

RADIOGRAPHY = ("CR", "DX", "RG")  # modalities of radiographs: computed, digital, on film
# Beginnings of words in a header, without accents: English, and as hospitals elsewhere write them.
CHEST = re.compile(r"\b(CHEST|THORA|TORA|LUNG|PULM|POUM|POLM|RIB|COST|PE[CI]?T|PECH|BRUST|HRUD|PLUC|KLATK)")
OTHER = re.compile(
    r"\b(ABD|BAUCH|BUIK|HAND|MANO|MAIN|FOOT|PIE|FUSS|VOET|FINGER|DEDO|TOE|WRIST|MUNEC|POIGN|POLSO|ANKLE|TOBIL"
    r"|CHEVIL|CAVIGL|KNEE|KNIE|RODIL|GENOU|GINOC|JOELH|ELBOW|CODO|COUD|GOMIT|ELLBOG|SHOULDER|HOMBR|EPAUL|SPALL"
    r"|OMBRO|SCHULTER|ARM|BRAZO|BRAS|FOREARM|HUMERUS|LEG|PIERN|JAMBE|GAMBA|FEMUR|TIBIA|FIBULA|HIP|CADER|HANCH"
    r"|ANCA|HUFT|PELV|BECKEN|BACIN|BASSIN|SKULL|CRAN|SCHADEL|HEAD|TETE|CABEZ|TESTA|KOPF|NECK|CUELLO|COLLO|HALS"
    r"|[CL]SPINE|SACR|COCC|JAW|MANDIB|MAXILL|TEETH|DENT|BREAST|MAMM)"
)
LATERAL = ("LL", "RL", "LATERAL", "LAT")
YEARS = {"Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # units of an age (DICOM PS3.5, 6.2)
DECODERS = "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"  # kept by the people who keep pydicom
COMPRESSED = f"it is compressed; run %pip install {DECODERS} in a cell, and then this notebook again"
MISSING = f"for DICOM files, run %pip install pydicom {DECODERS} in a cell, and then this notebook again"
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
    images.UnreadableImage with a reason; the reasons quote nothing from the header but the modality.
    """
    try:
        import pydicom
        from pydicom import pixels
    except ImportError:
        raise UnreadableImage(MISSING) from None
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        data = pydicom.dcmread(io.BytesIO(raw), force=True)
        _check(data)
        if "TransferSyntaxUID" not in data.file_meta:  # as in files without preamble
            implicit, little = data.original_encoding
            kinds = pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian
            data.file_meta.TransferSyntaxUID = (
                kinds[not implicit] if little else pydicom.uid.ExplicitVRBigEndian
            )
        values = data.pixel_array
    except UnreadableImage:
        raise
    except (RuntimeError, NotImplementedError) as error:
        if "missing dependencies" in str(error):
            raise UnreadableImage(COMPRESSED) from None
        raise UnreadableImage("its compression cannot be decoded; export it as PNG from a viewer") from None
    except Exception:  # pydicom's own words may quote the header
        raise UnreadableImage("the DICOM file is damaged or cut off") from None
    inside = np.ones(values.shape, bool)
    if "PixelPaddingValue" in data:  # what the detector did not cover
        inside = values != data.PixelPaddingValue
    try:
        grey = pixels.apply_voi_lut(pixels.apply_modality_lut(values, data), data).astype(np.float64)
    except Exception:
        raise UnreadableImage(
            "its DICOM header describes the grey values in a way that cannot be used"
        ) from None
    if not inside.any() or np.ptp(grey[inside]) == 0:
        raise UnreadableImage("the picture is one single shade of grey")
    low, high = grey[inside].min(), grey[inside].max()
    shade = np.clip((grey - low) / (high - low), 0, 1)
    if data.PhotometricInterpretation == "MONOCHROME1":
        shade = 1 - shade
    return np.round(255 * np.where(inside, shade, 0)).astype(np.uint8)


def _check(data):
    """Raise UnreadableImage if this is no single frontal radiograph of a chest, as far as the header says."""
    modality = str(data.get("Modality", ""))
    if modality and modality not in RADIOGRAPHY:
        quoted = modality if len(modality) == 2 and modality.isalpha() else "something else"
        raise UnreadableImage(f"its header says {quoted}, not a radiograph ({', '.join(RADIOGRAPHY)})")
    part = _plain(data.get("BodyPartExamined", ""))
    if OTHER.search(part) and not CHEST.search(part):  # on neither list: perhaps a chest in another language
        raise UnreadableImage("its header names another part of the body than the chest")
    if _plain(data.get("ViewPosition", "")) in LATERAL:
        raise UnreadableImage(
            "its header says that it is a lateral view; networks here know frontal ones only"
        )
    if "PixelData" not in data:
        raise UnreadableImage("the DICOM file holds no picture")
    if not str(data.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        raise UnreadableImage("the DICOM file holds a picture in colour, which radiographs are not")
    if int(data.get("NumberOfFrames", None) or 1) > 1:
        raise UnreadableImage("the DICOM file holds several pictures; export the one you mean")
    if data.Rows * data.Columns > MAX_PIXELS:
        raise UnreadableImage(TOO_LARGE)


def _plain(text):
    """An entry of a header in capital letters, without accents."""
    return unicodedata.normalize("NFKD", str(text)).encode("ascii", "ignore").decode().upper().strip()


def beyond(raw):
    """Why a DICOM file is no AP view of a child of 1 to 5 years; empty if its header does not tell.

    raw: the file's bytes. The words quote nothing from the header.
    """
    import pydicom

    data = pydicom.dcmread(io.BytesIO(raw), stop_before_pixels=True, force=True)
    age = re.fullmatch(r"(\d{1,3})([DWMY])", _plain(data.get("PatientAge", "")))
    if age and not 1 <= int(age[1]) * YEARS[age[2]] < 6:
        return "its header gives an age outside 1 to 5 years"
    if _plain(data.get("ViewPosition", "")) == "PA":
        return "its header says that it is a PA view, taken from behind"
    return ""
