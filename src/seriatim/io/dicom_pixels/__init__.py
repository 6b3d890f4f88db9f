"""The pixels of DICOM series: decoders, real-world values, one array."""
