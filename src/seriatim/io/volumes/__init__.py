"""Volume files: NIfTI, NRRD and MetaImage."""
