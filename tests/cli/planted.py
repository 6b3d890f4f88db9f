"""Inputs of every kind that name a patient wherever the format has room, whole and broken in many ways."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image, PngImagePlugin
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

TEXT_FIELDS = (
    "PatientName", "PatientID", "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "EthnicGroup",
    "PatientMotherBirthName", "Occupation", "PatientComments", "AccessionNumber", "StudyID", "ReferringPhysicianName",
    "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy", "RequestingPhysician",
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber",
    "StudyDescription",
    "SeriesDescription", "ProtocolName", "ImageComments", "StudyComments", "DerivationDescription", "BodyPartExamined",
    "AdmissionID", "MedicalRecordLocator", "RequestedProcedureDescription", "PerformedProcedureStepDescription",
    "ReasonForStudy", "FrameComments", "AdditionalPatientHistory", "ContentCreatorName",
)  # fmt: skip
OTHERS = ("private", "nested", "file", "zip")
TOKENS = {name: f"Quzx{chr(97 + index // 26)}{chr(97 + index % 26)}vy" for index, name in
          enumerate((*TEXT_FIELDS, *OTHERS))}
"""Forty made-up words: one for each field, and four for private tags, sequences, files and archives."""
BIRTH_DATE, STUDY_TIME = "19310217", "031415.92"
TRACES = (*(token.lower().encode() for token in TOKENS.values()), BIRTH_DATE.encode(), STUDY_TIME.encode())
FILE = TOKENS["file"]

READ = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "Modality", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "InstanceNumber", "AcquisitionNumber", "SeriesNumber",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "LossyImageCompression", "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence", "FrameTime", "FrameTimeVector", "CineRate", "FrameIncrementPointer",
    "ConvolutionKernel", "FrameOfReferenceUID", "EchoTime", "EchoNumbers", "DiffusionBValue", "TriggerTime",
    "TemporalPositionIdentifier", "InversionTime", "FlipAngle", "RepetitionTime", "KVP", "SequenceName", "ScanOptions",
    "ContrastBolusAgent", "AcquisitionDateTime", "AcquisitionTime", "ContentTime", "ComplexImageComponent",
    "BurnedInAnnotation", "ImagesInAcquisition", "Manufacturer", "PixelPaddingValue", "ModalityLUTSequence",
    "RedPaletteColorLookupTableDescriptor", "PixelData", "ConversionType", "SpacingBetweenSlices",
    "RealWorldValueMappingSequence", "ConcatenationUID", "WindowCenter", "PixelSpacingCalibrationType",
    "ImagerPixelSpacing", "StackID", "DimensionIndexSequence", "GridFrameOffsetVector", "Units", "DecayCorrection",
)  # fmt: skip
"""Attributes that a reader may look at, so that a broken value could be repeated in a message."""


def name_patient(dataset: Dataset) -> Dataset:
    """Every field that can tell who it is, filled."""
    for keyword in TEXT_FIELDS:
        setattr(dataset, keyword, TOKENS[keyword])
    dataset.PatientBirthDate, dataset.StudyDate, dataset.StudyTime = BIRTH_DATE, BIRTH_DATE, STUDY_TIME
    dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = STUDY_TIME
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", b"SV10\4\3\2\1" + TOKENS["private"].encode() * 9)
    dataset.private_block(0x0019, TOKENS["private"], create=True).add_new(0x0C, "LO", TOKENS["private"])
    inner = Dataset()
    inner.PatientName = inner.CodeMeaning = TOKENS["nested"]
    dataset.RequestAttributesSequence = dataset.ReferencedStudySequence = Sequence([inner])
    dataset.preamble = (b"MZ" + TOKENS["file"].encode()).ljust(128, b"\0")
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = TOKENS["private"].encode() + b"  "
    return dataset


def broken_dicoms() -> Iterator[tuple[str, Callable[[Dataset, int], bytes]]]:
    """(name, how slice ``number`` of a series is spoiled and written) for every way to provoke an error."""
    for keyword in READ:
        yield f"as-text-{keyword}", lambda dataset, _, keyword=keyword: _spoil(dataset, keyword, text_vr=True)
        yield f"as-bytes-{keyword}", lambda dataset, _, keyword=keyword: _spoil(dataset, keyword, text_vr=False)
        yield f"half-{keyword}", lambda dataset, number, keyword=keyword: (
            _spoil(dataset, keyword, text_vr=True) if number > 1 else write(dataset))
        yield f"again-{keyword}", lambda dataset, number, keyword=keyword: (
            _spoil(_move(dataset), keyword, text_vr=True) if number > 1 else write(dataset))
        yield f"once-{keyword}", lambda dataset, number, keyword=keyword: (
            _spoil(dataset, keyword, text_vr=True) if number == 1 else write(dataset))
    for share in range(5, 100, 9):
        yield f"cut-{share}", lambda dataset, _, share=share: (whole := write(dataset))[: len(whole) * share // 100]
    for number, syntax in enumerate((*COMPRESSED, FILE, *WRONG)):
        yield f"syntax-{number}", lambda dataset, _, syntax=syntax: _mislabel(dataset, syntax)
    yield "garbage", lambda *_: b"\0" * 128 + b"DICM" + FILE.encode() * 200
    yield "no-preamble", lambda dataset, _: write(dataset)[132:]


COMPRESSED = ("1.2.840.10008.1.2.5", *(f"1.2.840.10008.1.2.4.{number}"
                                       for number in (50, 51, 57, 70, 80, 81, 90, 91, 100, 201)))
WRONG = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")


def write(dataset: Dataset) -> bytes:
    held = io.BytesIO()
    with config.disable_value_validation():
        dataset.save_as(held, enforce_file_format=False)
    return held.getvalue()


def _move(dataset: Dataset) -> Dataset:
    """The slice two steps lower: where another one of its series lies."""
    place = dataset.ImagePositionPatient
    place[2] = f"{float(place[2]) - 2 * float(dataset.SliceThickness):.4f}"
    return dataset


def _spoil(dataset: Dataset, keyword: str, *, text_vr: bool) -> bytes:
    """The file with one value replaced by a name: as text, or as bytes where the attribute's own kind stands."""
    tag = Tag(tag_for_keyword(keyword))
    vr = "LO" if text_vr else pydicom.datadict.dictionary_VR(tag).split(" ")[0]
    value = f"{FILE}^{TOKENS['PatientName']}".encode().ljust(24)
    with config.disable_value_validation():
        dataset[tag] = RawDataElement(tag, "UN" if vr == "SQ" else vr, len(value), value, 0, False, True)
        return write(dataset)


def _mislabel(dataset: Dataset, syntax: str) -> bytes:
    """Pixels that are no code stream of their transfer syntax, with a comment that names the patient."""
    raw = write(dataset)
    name = FILE.encode()
    comment = b"\xff\xd8\xff\xfe" + struct.pack(">H", 2 + 40 * len(name)) + name * 40 + b"\xff\xd9"
    if syntax in COMPRESSED:
        dataset = pydicom.dcmread(io.BytesIO(raw))
        with config.disable_value_validation():
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.PixelData = pydicom.encaps.encapsulate([comment])
            dataset["PixelData"].VR = "OB"
            return write(dataset)
    old = b"1.2.840.10008.1.2.1\0"
    return raw.replace(old, syntax.encode()[: len(old)].ljust(len(old), b"\0"), 1)


def write_volumes(folder: Path) -> None:
    """NIfTI, NRRD and MetaImage files with names in every free text, whole and broken."""
    voxels = np.arange(4 * 6 * 5, dtype="<i2").reshape(4, 6, 5)
    nifti = bytearray(352)
    struct.pack_into("<i", nifti, 0, 348)
    nifti[4:14] = nifti[14:32][:10] = FILE.encode()[:10].ljust(10, b"\0")  # data_type, db_name
    nifti[14:32] = FILE.encode().ljust(18, b"\0")
    struct.pack_into("<8h", nifti, 40, 3, 5, 6, 4, 1, 1, 1, 1)
    struct.pack_into("<2h", nifti, 70, 4, 16)
    struct.pack_into("<8f", nifti, 76, 1, 1, 1, 2, 1, 1, 1, 1)
    struct.pack_into("<3f", nifti, 108, 352, 1, 0)
    nifti[148:228], nifti[228:252] = FILE.encode().ljust(80, b"\0"), FILE.encode().ljust(24, b"\0")  # descrip, aux_file
    nifti[328:344] = FILE.encode().ljust(16, b"\0")  # intent_name
    struct.pack_into("<2h", nifti, 252, 1, 1)
    struct.pack_into("<12f", nifti, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0)
    nifti[344:348] = b"n+1\0"
    whole = bytes(nifti) + voxels.tobytes()
    name = FILE.encode()
    files = {"a.nii": whole, "b.nii.gz": gzip.compress(whole), "cut.nii": whole[:400],
             "cut.nii.gz": gzip.compress(whole)[:99],
             "name.nii": name * 100, "size.nii": whole[:40] + name.ljust(16) + whole[56:],
             "kind.nii": whole[:70] + name[:4] + whole[74:], "magic.nii": whole[:344] + name[:4] + whole[348:]}
    nrrd = ["NRRD0005", f"# {FILE}", "type: short", "dimension: 3", "space: LPS", "sizes: 5 6 4", "encoding: raw",
            "endian: little", "space directions: (1,0,0) (0,1,0) (0,0,2)", "space origin: (0,0,0)", f"content: {FILE}"]
    for number in range(2, len(nrrd)):
        key = nrrd[number].partition(":")[0]
        lines = [*nrrd[:number], f"{key}: {FILE}", *nrrd[number + 1 :], f"{FILE}:={FILE}", "", ""]
        files[f"{key.replace(' ', '-')}.nrrd"] = "\n".join(lines).encode() + voxels.tobytes()
    files["body.nhdr"] = "\n".join([*nrrd, f"data file: {FILE}.raw", ""]).encode()
    files["cut.nrrd"] = "\n".join([*nrrd, "", ""]).encode() + name
    meta = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False",
            "CompressedData = False", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 0 0 0", "ElementSpacing = 1 1 2",
            "DimSize = 5 6 4", "ElementType = MET_SHORT", "ElementDataFile = LOCAL"]
    for number in range(len(meta)):
        key = meta[number].partition(" ")[0]
        lines = [f"Comment = {FILE}", f"Name = {FILE}", *meta[:number], f"{key} = {FILE}", *meta[number + 1 :], ""]
        files[f"{key}.mha"] = "\n".join(lines).encode() + voxels.tobytes()
    files["whole.mha"] = "\n".join([f"Comment = {FILE}", *meta, ""]).encode() + voxels.tobytes()
    files["cut.mha"] = files["whole.mha"][:-9]
    _write(folder, files.items())


def write_pictures(folder: Path) -> None:
    """PNG text, EXIF, TIFF tags, GIF comments and video tags with names, whole and cut off."""
    grey = Image.fromarray(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32))
    text = PngImagePlugin.PngInfo()
    for add in (text.add_text, text.add_itxt):
        add("Comment", FILE)
    text.add_text("Author", FILE, zip=True)
    exif = Image.Exif()
    for tag in (0x010E, 0x013B, 0x9286, 0x8298):
        exif[tag] = FILE
    options: dict[str, dict[str, Any]] = {
        "png": {"pnginfo": text, "exif": exif}, "jpg": {"exif": exif, "comment": FILE.encode()},
        "tif": {"tiffinfo": {270: FILE, 315: FILE, 305: FILE}},
        "gif": {"comment": FILE.encode(), "save_all": True, "append_images": [grey.rotate(90)] * 2},
        "tiff": {"tiffinfo": {270: FILE}, "save_all": True, "append_images": [grey.rotate(90)] * 2},
    }
    for ending, some in options.items():
        held = io.BytesIO()
        grey.save(held, {"jpg": "JPEG", "tif": "TIFF", "tiff": "TIFF"}.get(ending, ending.upper()), **some)
        whole = held.getvalue()
        _write(folder / ending, [(f"{number}.{ending}", whole) for number in range(3)])
        _write(folder / f"{ending}-cut", [("0." + ending, whole[: len(whole) // 2]), ("1." + ending, whole)])
        _write(folder / f"{ending}-name", [("0." + ending, whole[:8] + FILE.encode() * 20)])
    clip = write_clip(folder / "clip.mp4")
    _write(folder / "video", [("cut.mp4", clip[: len(clip) // 2]), ("name.mp4", FILE.encode() * 50),
                              ("list.mp4", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{FILE}.ts\n".encode()),
                              ("turned.mp4", clip.replace(b"avc1", b"Quzx"))])


def write_clip(path: Path) -> bytes:
    """A short video with tags that name the patient."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        container.metadata.update({"title": FILE, "artist": FILE, "comment": FILE})
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32), 40 * number, np.uint8), format="gray")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path.read_bytes()


def write_archives(folder: Path, dicom: bytes) -> None:
    """Archives with names in comments, encrypted and damaged members."""
    folder.mkdir(parents=True, exist_ok=True)
    word = TOKENS["zip"]
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.comment = word.encode()
        for number in range(3):
            info = zipfile.ZipInfo(f"{number}.dcm")
            info.comment, info.compress_type = word.encode(), 8
            info.extra = struct.pack("<HH", 0xCAFE, len(word)) + word.encode()
            file.writestr(info, dicom)
    raw = (folder / "a.zip").read_bytes()
    middle = bytearray(raw)
    middle[300:300 + len(word)] = word.encode()
    _write(folder, [("cut.zip", raw[: len(raw) // 2]), ("damaged.zip", bytes(middle)),
                    ("name.zip", b"PK\3\4" + word.encode() * 99),
                    ("encrypted.zip", raw.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"))])


def _write(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files:
        (folder / name).write_bytes(content)
