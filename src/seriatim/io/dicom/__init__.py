"""DICOM headers: files -> planes -> series, without a pixel."""
