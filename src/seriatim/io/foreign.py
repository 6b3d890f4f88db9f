"""Formats of images that are not read, by name and first bytes, each with what to do instead."""

from __future__ import annotations

FOREIGN: tuple[tuple[str, tuple[str, ...], tuple[bytes, ...]], ...] = (
    ("a FreeSurfer volume: convert it to NIfTI (mri_convert)", (".mgh", ".mgz", ".mgh.gz"), ()),
    ("a MINC volume: convert it to NIfTI (mnc2nii)", (".mnc", ".mnc.gz"), ()),
    ("Philips PAR/REC: export it as DICOM, or convert it to NIfTI (dcm2niix)", (".par", ".rec"),
     (b"# === DATA DESCRIPTION FILE",)),
    ("an AFNI volume: convert it to NIfTI (3dAFNItoNIFTI)", (".head", ".brik", ".brik.gz"), ()),
    ("an ECAT file: export it as DICOM, or convert it to NIfTI (dcm2niix)", (), (b"MATRIX7",)),
    ("an Interfile header: export it as DICOM, or convert it to NIfTI", (".hv", ".h33"), (b"!INTERFILE",)),
    ("a surface, not an image", (".gii", ".gii.gz"), ()),
    ("streamlines, not an image", (".trk", ".tck", ".trk.gz"), (b"mrtrix tracks", b"TRACK\0")),
    ("an MRtrix image: convert it to NIfTI (mrconvert)", (".mif", ".mif.gz", ".mih"), (b"mrtrix image",)),
    ("an array without geometry: save it as NIfTI, NRRD or MetaImage", (".npy", ".npz"), (b"\x93NUMPY",)),
    ("a Heidelberg or Topcon file: export it as DICOM", (".e2e", ".fda"), ()),
    ("an Imaris, Leica, Nikon or Zeiss microscope file: export it as OME-TIFF, one channel and time at once",
     (".ims", ".lif", ".nd2", ".czi"), ()),
)


def name_foreign(name: str, head: bytes) -> str:
    """Which format a file is, and what to do instead; "" where none of these. ``name`` in small letters."""
    for reason, endings, starts in FOREIGN:
        if (endings and name.endswith(endings)) or (starts and head.startswith(starts)):
            return reason
    return ""
