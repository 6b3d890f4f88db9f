"""ZIP archives, read as streams."""
