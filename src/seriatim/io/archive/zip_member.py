"""One member of a ZIP archive as a stream of bytes: unpacked as it is read, never further than asked, and checked."""

from __future__ import annotations

import bz2
import io
import lzma
import tempfile
import zlib
from typing import IO, Any, BinaryIO

from seriatim.io.archive.zip_index import BZIP2, DEFLATED, STORED, ArchiveError, Entry

STEP = 1 << 16
MAX_IN_MEMORY = 1 << 26
MAX_DICTIONARY_BYTES = 1 << 28
DAMAGED = "UNREADABLE: a member of the archive is damaged. Copy the archive again."
CUT = "TRUNCATED: a member of the archive is cut off. Copy the archive again."


class MemberStream(io.RawIOBase):
    """The bytes of a member, to read and to seek in; it owns the open archive.

    Going forward unpacks what lies between, going back unpacks from the start once, and from then on reads a private
    copy. The checksum is compared when the last byte is reached, and by ``check``.
    """

    def __init__(self, archive: BinaryIO, entry: Entry, *, name: str) -> None:
        """Raises ArchiveError where the archive holds no such member at its place."""
        super().__init__()
        self.name = name
        self._archive, self._entry = archive, entry
        archive.seek(entry.offset)
        head = archive.read(30)
        if len(head) < 30 or not head.startswith(b"PK\3\4"):
            raise ArchiveError(DAMAGED)
        self._start = entry.offset + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        if self._start + entry.packed > entry.limit:
            raise ArchiveError(DAMAGED)
        self._position = self._restarts = self._unpacked = 0
        self._copy: IO[bytes] | None = None
        self._checked = False
        self._restart()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._entry.size}[whence]
        if place < 0:
            raise ValueError(f"negative place {place}")
        self._position = place
        return place

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._entry.size - self._position)
        if count <= 0:
            return 0
        data = self._read_at(self._position, count)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def check(self) -> None:
        """Compare the checksum of the whole member. Raises ArchiveError where it differs."""
        if not self._checked:
            if not self._in_order:
                self._restart()
            while self._unpacked < self._entry.size:
                self._unpack(STEP)
            self._compare()

    def close(self) -> None:
        if not self.closed:
            self._archive.close()
            if self._copy is not None:
                self._copy.close()
        super().close()

    def _read_at(self, place: int, count: int) -> bytes:
        if self._copy is not None:
            self._copy.seek(place)
            return self._copy.read(count)
        if self._entry.method == STORED and place != self._unpacked:
            self._archive.seek(self._start + place)
            self._unpacked, self._left, self._in_order = place, self._entry.packed - place, False
        elif place < self._unpacked:
            self._restarts += 1
            self._restart()
            if self._restarts > 1:
                self._copy_all()
                return self._read_at(place, count)
        while self._unpacked < place:
            self._unpack(min(STEP, place - self._unpacked))
        data = self._unpack(count)
        self._compare()
        return data

    def _restart(self) -> None:
        self._archive.seek(self._start)
        self._left, self._unpacked, self._crc, self._in_order = self._entry.packed, 0, 0, True
        self._decoder = _make_decoder(self._entry, self)

    def _copy_all(self) -> None:
        copy = tempfile.SpooledTemporaryFile(max_size=MAX_IN_MEMORY)  # noqa: SIM115 - closed with the stream
        while self._unpacked < self._entry.size:
            copy.write(self._unpack(STEP))
        self._copy = copy
        self._compare()

    def _unpack(self, count: int) -> bytes:
        """The next bytes, 1 to ``count``."""
        data = b""
        try:
            while not data:
                packed = self.take(STEP if self._decoder else count) if self._wants_input() else b""
                data = self._decoder.decompress(packed, count) if self._decoder else packed
                if not data and not packed and not self._left:
                    raise ArchiveError(CUT)
        except (zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
            raise ArchiveError(DAMAGED) from error
        except OSError as error:  # bz2 tells damage so, and the archive may be gone
            raise error if isinstance(error, ArchiveError) else ArchiveError(DAMAGED) from error
        data = data[: self._entry.size - self._unpacked]
        self._crc = zlib.crc32(data, self._crc)
        self._unpacked += len(data)
        return data

    def take(self, count: int) -> bytes:
        """The next packed bytes."""
        packed = self._archive.read(min(count, self._left))
        self._left -= len(packed)
        return packed

    def _wants_input(self) -> bool:
        return self._decoder is None or bool(self._decoder.needs_input)

    def _compare(self) -> None:
        if self._unpacked == self._entry.size and self._in_order and not self._checked:
            if self._crc != self._entry.crc:
                raise ArchiveError(DAMAGED)
            self._checked = True


class _Inflate:
    """zlib with the calls of the other decoders."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


def _make_decoder(entry: Entry, stream: MemberStream) -> Any:
    """None for a stored member. LZMA starts with its properties (APPNOTE 5.8.8)."""
    if entry.method == STORED:
        return None
    if entry.method == DEFLATED:
        return _Inflate()
    if entry.method == BZIP2:
        return bz2.BZ2Decompressor()
    head = stream.take(9)
    dictionary = int.from_bytes(head[5:9], "little")
    if len(head) < 9 or head[2:4] != b"\5\0" or head[4] >= 225 or dictionary > MAX_DICTIONARY_BYTES:
        raise ArchiveError(DAMAGED)
    rest, lc = divmod(head[4], 9)
    pb, lp = divmod(rest, 5)
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)

