"""DICOM radiographs made here with pydicom, and the small files that it ships for other kinds."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from utils import workspace
from utils.data import dicom, images
from utils.workspace import ExplainedError

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
SECRET = "Doe^Jane"


def ramp(bits=12):
    """A picture that uses all its bits: uint16 [40, 60]."""
    return np.linspace(0, 2**bits - 1, 2400).reshape(40, 60).astype(np.uint16)


def expected():
    return np.round(np.linspace(0, 255, 2400).reshape(40, 60)).astype(int)


def encoded(values, bits=12, syntax=ExplicitVRLittleEndian, **entries):
    """The bytes of a DICOM file; entries: of its header."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.PatientName, data.Modality, data.BodyPartExamined = SECRET, "DX", "CHEST"
    data.Rows, data.Columns, data.SamplesPerPixel = *values.shape, 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", int(values.dtype.kind == "i")
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * values.itemsize, bits, bits - 1
    data.PixelData = values.tobytes()
    for name, value in entries.items():
        setattr(data, name, value)
    return written(data)


def written(data, **kwargs):
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, **({"enforce_file_format": True} | kwargs))
    return file.getvalue()


def coloured(values, **entries):
    """The bytes of a DICOM file with three samples a pixel; values: uint8 [40, 60, 3]."""
    entries = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": values.tobytes()} | entries
    return encoded(ramp(8).astype(np.uint8), 8, **entries)


def is_the_ramp(grey):
    return grey.dtype == np.uint8 and np.abs(grey.astype(int) - expected()).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_every_depth_gives_the_same_grey(bits):
    assert is_the_ramp(images.read(encoded(ramp(bits).astype(np.uint8 if bits == 8 else np.uint16), bits)))


def test_monochrome1_is_inverted():
    assert is_the_ramp(images.read(encoded(4095 - ramp(), PhotometricInterpretation="MONOCHROME1")))


def test_an_inverse_presentation_is_inverted_once():
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        entries = {"PhotometricInterpretation": photometric, "PresentationLUTShape": "INVERSE"}
        assert is_the_ramp(images.read(encoded(4095 - ramp(), **entries)))


@pytest.mark.parametrize("modality", ["DR", "OT", SECRET, ""])
def test_modalities_that_may_be_radiographs_are_read(modality):
    assert is_the_ramp(images.read(encoded(ramp(), Modality=modality, BodyPartExamined="SKULL")))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "MONOCHROME2"])
def test_grey_stored_as_colour_is_grey(photometric):
    grey = ramp(8).astype(np.uint8)
    blue_red = np.full_like(grey, 128) if photometric == "YBR_FULL" else grey
    values = np.stack([grey, blue_red, blue_red], axis=2)
    assert is_the_ramp(images.read(coloured(values, PhotometricInterpretation=photometric)))


def test_grey_stored_as_a_palette_is_grey():
    turned = {}
    for colour in ("Red", "Green", "Blue"):
        turned[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        turned[f"{colour}PaletteColorLookupTableData"] = (np.arange(256)[::-1] * 257).astype("<u2").tobytes()
    raw = encoded(255 - ramp(8).astype(np.uint8), 8, PhotometricInterpretation="PALETTE COLOR", **turned)
    assert is_the_ramp(images.read(raw))


def test_rescale_with_a_negative_slope_turns_the_greys():
    assert is_the_ramp(images.read(encoded(4095 - ramp(), RescaleSlope="-1", RescaleIntercept="4095")))


def test_the_first_window_is_applied():
    grey = images.read(encoded(ramp(), WindowCenter=["2048", "100"], WindowWidth=["1024", "50"]))
    assert (grey[ramp() < 1500] == 0).all() and (grey[ramp() > 2600] == 255).all()
    assert 120 < grey[np.abs(ramp().astype(int) - 2048) < 3].mean() < 136


def test_a_modality_table_is_applied():
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [256, 0, 16])
    table.add_new("LUTData", "US", (np.arange(256) ** 2).tolist())
    table.ModalityLUTType = "US"
    raw = encoded(ramp(8).astype(np.uint8), 8, ModalityLUTSequence=pydicom.Sequence([table]))
    np.testing.assert_allclose(images.read(raw), expected() ** 2 / 255, atol=3)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_pixels_outside_the_detector_are_black(photometric):
    values = ramp().astype(np.int16)
    values[:5] = -2000
    raw = encoded(values, 16, PixelPaddingValue=-2000, PhotometricInterpretation=photometric)
    inside = images.read(raw)[5:]
    assert (images.read(raw)[:5] == 0).all() and inside.min() == 0 and inside.max() == 255


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_files_without_preamble_are_read(syntax):
    raw = encoded(ramp().byteswap() if syntax == ExplicitVRBigEndian else ramp(), syntax=syntax)
    meta = pydicom.dcmread(io.BytesIO(raw)).file_meta.FileMetaInformationGroupLength
    assert is_the_ramp(images.read(raw))
    assert is_the_ramp(images.read(raw[132:]))  # without the preamble
    assert is_the_ramp(images.read(raw[:132] + raw[132 + 12 + meta :]))  # without a transfer syntax
    assert is_the_ramp(images.read(raw[132 + 12 + meta :]))  # without either


@pytest.mark.parametrize(
    "name",
    ["JPEG2000", "MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "JPGExtended"],
)
def test_compressed_files_are_read(name):
    data, plain = (pydicom.dcmread(SHIPPED / f"{each}.dcm") for each in (name, "MR_small"))
    data.Modality = plain.Modality = "DX"
    grey = images.read(written(data, enforce_file_format=False))
    assert grey.shape == (data.Rows, data.Columns) and np.ptp(grey) == 255
    if "MR_small" in name:  # the same picture in every lossless compression
        np.testing.assert_array_equal(grey, images.read(written(plain, enforce_file_format=False)))


def test_lossless_jpeg_is_read(tmp_path):
    gdcm = pytest.importorskip("gdcm", reason="the package that encodes it")
    (tmp_path / "in.dcm").write_bytes(encoded(ramp()))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(f"{tmp_path}/in.dcm")
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetFileName(f"{tmp_path}/out.dcm")
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert is_the_ramp(images.read(tmp_path / "out.dcm"))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"Modality": "CT"}, "not a radiograph"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"NumberOfFrames": 2, "PixelData": ramp().tobytes() * 2}, "several pictures"),
        ({"Rows": 400}, "cut off or damaged"),
        ({"Rows": 20000, "Columns": 20000}, "cut off or damaged"),
        ({"PixelData": b"\7\0" * 2400}, "one single shade"),
    ],
)
def test_unfit_files_get_a_reason_without_patient_data(entries, reason):
    with pytest.raises(ExplainedError, match=reason) as caught:
        images.read(encoded(ramp(), **entries))
    assert "Doe" not in str(caught.value)


def test_visible_colour_is_refused():
    values = np.zeros((40, 60, 3), np.uint8)
    values[:20, :, 0] = 200
    with pytest.raises(ExplainedError, match="in colour"):
        images.read(coloured(values, PhotometricInterpretation="RGB"))


def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded():
    huge = io.BytesIO()
    Image.new("L", (9000, 9000)).save(huge, "JPEG")
    frame = pydicom.encaps.encapsulate([huge.getvalue()])
    raw = encoded(ramp(8).astype(np.uint8), 8, JPEGBaseline8Bit, PixelData=frame)
    with pytest.raises(ExplainedError, match="too large"):
        images.read(raw)
    with pytest.raises(ExplainedError, match="too large"):
        images.read(encoded(np.zeros((9000, 9000), np.uint8), 8))


def test_files_cut_off_anywhere_get_a_reason():
    raw = encoded(ramp())
    for size in range(200, len(raw) - 2, 311):
        with pytest.raises(ExplainedError, match="cut off") as caught:
            images.read(raw[:size])
        assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"PatientAge": "045Y"}, "an age outside 1 to 5 years"),
        ({"PatientAge": "006Y"}, "an age outside 1 to 5 years"),
        ({"PatientAge": "011M"}, "an age outside 1 to 5 years"),
        ({"PatientAge": "020D"}, "an age outside 1 to 5 years"),
        ({"ViewPosition": "PA"}, "a PA view"),
        ({"BodyPartExamined": "SKULL"}, "another body part"),
        ({"SeriesDescription": "Thorax lat."}, "a lateral view"),
        ({"SeriesDescription": "Chest PA and lateral"}, ""),
        ({"BodyPartExamined": "TORAX", "ProtocolName": "bilateral"}, ""),
        ({"PatientAge": "005Y", "ViewPosition": "AP"}, ""),
        ({"PatientAge": "001Y"}, ""),
        ({"PatientAge": "018M"}, ""),
        ({"PatientAge": "unknown"}, ""),
        ({}, ""),
    ],
)
def test_age_and_view_tell_whether_the_scope_fits(entries, reason):
    said = dicom.beyond(encoded(ramp(), **entries))
    assert reason in said and bool(said) == bool(reason)
    assert not set(re.findall(r"\d+", said)) & {"045", "45", "11", "20"}, "nothing of the header is quoted"


READ = """
import sys
if sys.argv[1] != "all": sys.modules[sys.argv[1]] = None
from utils import workspace
from utils.data import images
try:
    print(images.read(sys.argv[2]).shape)
except workspace.ExplainedError as error:
    print(error)
"""


def said_of(path, missing="all"):
    """What a process says that reads a file, without a package."""
    command = [sys.executable, "-c", READ, missing, path]
    done = subprocess.run(command, cwd=workspace.PROJECT, capture_output=True, text=True)
    assert done.stderr == "" and "Doe" not in done.stdout
    return done.stdout.strip()


def test_without_the_packages_the_reason_names_them(tmp_path):
    (tmp_path / "a.dcm").write_bytes(encoded(ramp()))
    assert said_of(tmp_path / "a.dcm", "pydicom") == dicom.MISSING


def test_what_libraries_say_about_a_file_never_reaches_the_output(tmp_path):
    (tmp_path / "odd.dcm").write_bytes(encoded(ramp(), Modality=SECRET, PatientAge=SECRET, ViewPosition="LL"))
    assert "a lateral view" in said_of(tmp_path / "odd.dcm")
