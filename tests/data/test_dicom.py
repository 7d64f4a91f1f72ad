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
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from utils import workspace
from utils.data import dicom, images

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
SECRET = "Doe^Jane"


def ramp(bits=12):
    """A picture that uses all its bits: uint16 [40, 60]."""
    return np.linspace(0, 2**bits - 1, 2400).reshape(40, 60).astype(np.uint16)


def expected():
    return np.round(np.linspace(0, 255, 2400).reshape(40, 60)).astype(int)


def dataset(values, bits=12, **entries):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.PatientName, data.Modality, data.BodyPartExamined = SECRET, "DX", "CHEST"
    data.Rows, data.Columns, data.SamplesPerPixel = *values.shape, 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", int(values.dtype.kind == "i")
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * values.itemsize, bits, bits - 1
    data.PixelData = values.tobytes()
    for name, value in entries.items():
        setattr(data, name, value)
    return data


def encoded(data, **kwargs):
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, **({"enforce_file_format": True} | kwargs))
    return file.getvalue()


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_every_depth_gives_the_same_grey(bits):
    values = ramp(bits).astype(np.uint8 if bits == 8 else np.uint16)
    grey = images.read(encoded(dataset(values, bits)))
    assert grey.dtype == np.uint8 and np.abs(grey.astype(int) - expected()).max() <= 1


def test_monochrome1_is_inverted():
    grey = images.read(encoded(dataset(4095 - ramp(), PhotometricInterpretation="MONOCHROME1")))
    assert np.abs(grey.astype(int) - expected()).max() <= 1


def test_rescale_with_a_negative_slope_turns_the_greys():
    grey = images.read(encoded(dataset(4095 - ramp(), RescaleSlope="-1", RescaleIntercept="4095")))
    assert np.abs(grey.astype(int) - expected()).max() <= 1


def test_the_first_window_is_applied():
    grey = images.read(encoded(dataset(ramp(), WindowCenter="2048", WindowWidth="1024")))
    assert (grey[ramp() < 1500] == 0).all() and (grey[ramp() > 2600] == 255).all()
    assert 120 < grey[np.abs(ramp().astype(int) - 2048) < 3].mean() < 136


def test_a_modality_table_is_applied():
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [256, 0, 16])
    table.add_new("LUTData", "US", (np.arange(256) ** 2).tolist())
    table.ModalityLUTType = "US"
    data = dataset(ramp(8).astype(np.uint8), 8)
    data.ModalityLUTSequence = pydicom.Sequence([table])
    np.testing.assert_allclose(images.read(encoded(data)), expected() ** 2 / 255, atol=3)


def test_pixels_outside_the_detector_are_black():
    values = ramp().astype(np.int16)
    values[:5] = -2000
    grey = images.read(encoded(dataset(values, 16, PixelPaddingValue=-2000)))
    assert (grey[:5] == 0).all() and grey[5:].min() == 0 and grey[6].min() > 0 and grey.max() == 255


def test_files_without_preamble_are_read():
    raw = encoded(dataset(ramp()))
    meta = pydicom.dcmread(io.BytesIO(raw)).file_meta.FileMetaInformationGroupLength
    for start in (132, 132 + 12 + meta):  # without the preamble; without all of the file's own header
        np.testing.assert_array_equal(images.read(raw[start:]), images.read(raw))


@pytest.mark.parametrize(
    "name",
    [
        "JPEG2000.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "JPGExtended.dcm",
    ],
)
def test_compressed_files_are_read(name):
    data = pydicom.dcmread(SHIPPED / name)
    data.Modality, data.BodyPartExamined = "DX", "CHEST"
    grey = images.read(encoded(data, enforce_file_format=False))
    assert grey.shape == (data.Rows, data.Columns) and np.ptp(grey) == 255
    if "MR_small" in name:  # the same picture in every lossless compression
        plain = pydicom.dcmread(SHIPPED / "MR_small.dcm")
        plain.Modality, plain.BodyPartExamined = "DX", "CHEST"
        np.testing.assert_array_equal(grey, images.read(encoded(plain, enforce_file_format=False)))


def test_lossless_jpeg_is_read():
    gdcm = pytest.importorskip("gdcm", reason="the package that decodes it")
    assert gdcm.Version.GetVersion()
    picture = images.read(
        compressed_by_gdcm(encoded(dataset(ramp())), gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    )
    assert np.abs(picture.astype(int) - expected()).max() <= 1


def compressed_by_gdcm(raw, syntax):
    import tempfile

    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.dcm").write_bytes(raw)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(f"{folder}/in.dcm")
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetFileName(f"{folder}/out.dcm")
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return Path(folder, "out.dcm").read_bytes()


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, "says CT, not a radiograph"),
        ({"Modality": SECRET}, "says something else"),
        ({"BodyPartExamined": "HAND"}, "another part of the body"),
        ({"BodyPartExamined": "RODILLA IZQ"}, "another part of the body"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"NumberOfFrames": 2}, "several pictures"),
        ({"Rows": 20000, "Columns": 20000}, "too many pixels"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "in colour"),
        ({"Rows": 400}, "damaged or cut off"),
        ({"PixelData": b"\7\0" * 2400}, "one single shade"),
    ],
)
def test_unfit_files_get_a_reason_without_patient_data(entries, reason):
    with pytest.raises(images.UnreadableImage, match=reason) as caught:
        images.read(encoded(dataset(ramp(), **entries)))
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    "part",
    ["TORAX", "Tórax AP", "TORACE", "PULMON", "POUMON", "HRUDNIK", "CHEST ABDOMEN", "BABYGRAM", "KYOBU"],
)
def test_a_chest_in_any_language_and_what_is_not_known_is_read(part):
    assert images.read(encoded(dataset(ramp(), BodyPartExamined=part))).any()


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"PatientAge": "045Y"}, "an age outside 1 to 5 years"),
        ({"PatientAge": "011M"}, "an age outside 1 to 5 years"),
        ({"PatientAge": "020D"}, "an age outside 1 to 5 years"),
        ({"ViewPosition": "PA"}, "a PA view"),
        ({"PatientAge": "005Y", "ViewPosition": "AP"}, ""),
        ({"PatientAge": "018M"}, ""),
        ({"PatientAge": "unknown"}, ""),
        ({}, ""),
    ],
)
def test_age_and_view_tell_whether_the_scope_fits(entries, reason):
    said = dicom.beyond(encoded(dataset(ramp(), **entries)))
    assert reason in said and bool(said) == bool(reason)
    assert not set(re.findall(r"\d+", said)) & {"045", "45", "11", "20"}, "nothing of the header is quoted"


def test_files_cut_off_anywhere_get_a_reason():
    raw = encoded(dataset(ramp()))
    for size in range(200, len(raw) - 2, 311):
        with pytest.raises(images.UnreadableImage) as caught:
            images.read(raw[:size])
        assert "Doe" not in str(caught.value)


def test_without_the_packages_the_reason_names_them(tmp_path):
    (tmp_path / "a.dcm").write_bytes(encoded(dataset(ramp())))
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from utils.data import images\n"
        "try: images.read(sys.argv[1])\n"
        "except images.UnreadableImage as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.dcm"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == dicom.MISSING


READ = """
import sys, warnings
from utils.data import images
for name in sys.argv[1:]:
    try:
        images.read(name)
    except images.UnreadableImage as error:
        print(error)
"""


def test_what_libraries_say_about_a_file_never_reaches_the_output(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "cut.tif")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:8])
    data = dataset(ramp())
    data.Modality = "Doe^Jane"
    (tmp_path / "odd.dcm").write_bytes(encoded(data))
    Image.new("1", (11_000, 9_000)).save(tmp_path / "large.png")
    command = [sys.executable, "-c", READ, *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, cwd=workspace.PROJECT, capture_output=True, text=True)
    assert done.stderr == "" and "Doe" not in done.stdout and done.stdout.count("\n") == 2
