"""Tables and results: manifest, slice labels, CSV and JSON."""
