"""Results as DICOM objects, filed beside the series they are about (extra ``dicom-results``)."""

from seriatim.io.results.result import Algorithm, MapKind, SeriesResult, SliceAttribution, SliceMaps
from seriatim.io.results.store import Written, require_highdicom

__all__ = ["Algorithm", "MapKind", "SeriesResult", "SliceAttribution", "SliceMaps", "Written", "require_highdicom"]
