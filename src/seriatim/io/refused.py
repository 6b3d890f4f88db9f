"""A file that makes no series is still a row: one file, one series without slices, and the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seriatim.errors import InputError
from seriatim.io.content import digest_files, make_uid
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Format, Series


class RefusedFileError(InputError):
    """A file that cannot be read as a whole, with the finding that says why."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.finding = find(code, message)


def refuse_file(path: Path, format_: Format, finding: Finding) -> Series:
    """The row of a volume file, clip or multi-page file of which nothing but the reason is known.

    Raises:
        OSError: not even its bytes can be read.
    """
    digest = digest_files([path])
    return Series(
        study_uid=make_uid(digest, "study"), series_uid=make_uid(digest, "series"), modality="OT",
        axis="time" if format_ in ("stack", "video") else "space", format=format_, path=path, instances=(), rows=0,
        columns=0, findings=(finding,),
    )


def find_or_refuse(path: Path, format_: Format, find_in: Callable[[Path], list[Series]]) -> list[Series]:
    """What ``find_in`` finds in a file, or the file's row with the reason.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        return find_in(path)
    except RefusedFileError as error:
        finding = error.finding
    except InputError as error:
        finding = find(Code.UNREADABLE, str(error))
    except MemoryError:
        finding = find(Code.TOO_LARGE, "The file does not fit memory.")
    except Exception as error:  # noqa: BLE001 - the boundary of one file; the error's text may hold header values
        finding = find(Code.UNREADABLE, f"The file cannot be read ({type(error).__name__}). Copy it again.")
    return [refuse_file(path, format_, finding)]
