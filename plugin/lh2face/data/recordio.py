"""RecordIO files (``train.rec``, ``train.idx``, ``property``) without mxnet.

A record is ``u32 0xced7230a | u32 lrec | data | zeros to a multiple of 4``; the upper 3 bits of
``lrec`` tell a whole record (0) from the first, middle and last part of a split one (1, 2, 3), the
lower 29 its length. Parts are joined with the 4 magic bytes that stood between them. The payload
is ``<IfQQ`` (flag, label, id, id2), then ``flag`` float32 labels, then the encoded image.
"""

import mmap
import struct
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
HEADER = struct.Struct("<IfQQ")
LENGTH_MASK = (1 << 29) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)
# float32 holds every integer up to here; greater identities go into ``id2``.
EXACT_FLOAT32 = 1 << 24


class RecordError(ValueError):
    """A record or index that cannot be read; the message names the file and the offset."""


class RecordHeader(NamedTuple):
    """What stands before the image: ``label`` is a scalar, or ``flag`` float32 values."""

    flag: int
    label: float | np.ndarray
    id: int
    id2: int


class RecordReader:
    """Random access to a record file, memory-mapped; processes that read it share its pages.

    Args:
        path: The ``.rec`` file; the ``.idx`` beside it gives the offsets. Without one the file is
            scanned and keys count from 0.

    Attributes:
        keys: ``list[int]`` in ascending order.

    Raises:
        RecordError: If the index is malformed or points outside the file.
        FileNotFoundError: If the record file is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        index = self.path.with_suffix(".idx")
        offsets = read_index(index) if index.exists() else dict(enumerate(self._scan()))
        for key, offset in offsets.items():
            if not 0 <= offset <= size - 8 or offset % 4:
                raise RecordError(f"{index}: key {key}: offset {offset} is outside {self.path}")
        self._offsets = dict(sorted(offsets.items()))
        self.keys = list(self._offsets)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, key: int) -> tuple[RecordHeader, bytes]:
        """The record with this key: its header and the encoded image (empty in a record 0)."""
        if key not in self._offsets:
            raise KeyError(f"{self.path}: no record with key {key}")
        payload = self._read(self._offsets[key])[0]
        where = f"{self.path}: key {key}"
        if len(payload) < HEADER.size:
            raise RecordError(f"{where}: {len(payload)} bytes, a header needs {HEADER.size}")
        flag, label, first_id, second_id = HEADER.unpack_from(payload)
        start = HEADER.size + 4 * flag
        if start > len(payload):
            raise RecordError(f"{where}: {flag} labels do not fit into {len(payload)} bytes")
        labels = np.frombuffer(payload, "<f4", flag, HEADER.size) if flag else label
        return RecordHeader(flag, labels, first_id, second_id), payload[start:]

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)

    def _scan(self) -> list[int]:
        offsets, offset = [], 0
        while offset < len(self._data):
            offsets.append(offset)
            offset = self._read(offset)[1]
        return offsets

    def _read(self, offset: int) -> tuple[bytes, int]:
        """Payload of the record at ``offset`` and where the next one begins."""
        parts: list[bytes] = []
        while True:
            if offset + 8 > len(self._data):
                raise RecordError(f"{self.path}: offset {offset}: the file ends inside a record")
            magic, lrec = struct.unpack_from("<II", self._data, offset)
            if magic != MAGIC:
                raise RecordError(
                    f"{self.path}: offset {offset}: expected the magic number {MAGIC:#x}, "
                    f"found {magic:#x}"
                )
            part, length = lrec >> 29, lrec & LENGTH_MASK
            if part not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
                raise RecordError(f"{self.path}: offset {offset}: part {part} is out of place")
            start, stop = offset + 8, offset + 8 + length
            if stop > len(self._data):
                raise RecordError(f"{self.path}: offset {offset}: the file ends inside a record")
            parts.append(self._data[start:stop])
            offset = stop + -length % 4
            if part in (WHOLE, LAST):
                # A wrong length would give part of a record, or more than one, for the whole.
                if offset < len(self._data) and self._data[offset : offset + 4] != MAGIC_BYTES:
                    raise RecordError(
                        f"{self.path}: offset {start - 8}: no record follows its {length} bytes"
                    )
                return MAGIC_BYTES.join(parts), offset


def read_index(path: Path) -> dict[int, int]:
    """Offsets by key of an ``.idx`` file, lines of ``key<TAB>offset`` in any order.

    Raises:
        RecordError: Naming the file and line that is not two whole numbers, or repeats a key.
    """
    offsets: dict[int, int] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        try:
            key, offset = map(int, line.split("\t"))
        except ValueError:
            raise RecordError(f"{path}:{number}: expected key<TAB>offset, found {line!r}") from None
        if key in offsets:
            raise RecordError(f"{path}:{number}: key {key} stands there twice")
        offsets[key] = offset
    return offsets


class RecordWriter:
    """Writes a record file and its index; use it as a context manager.

    Args:
        path: The ``.rec`` file; the ``.idx`` is written beside it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        self._index = self.path.with_suffix(".idx").open("w", newline="\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._index.close()

    def write(self, key: int, image: bytes, label: int | list[float]) -> None:
        """Append a record.

        Args:
            key: Its key in the index.
            image: The encoded image; empty for a record 0.
            label: The identity, kept exact above 2²⁴ in ``id2``; or several float32 labels.
        """
        if isinstance(label, int):
            exact = label if label >= EXACT_FLOAT32 else 0
            payload = HEADER.pack(0, label, key, exact) + image
        else:
            values = np.asarray(label, "<f4")
            payload = HEADER.pack(len(values), 0, key, 0) + values.tobytes() + image
        self._index.write(f"{key}\t{self._file.tell()}\n")
        parts = split_at_magic(payload)
        for i, part in enumerate(parts):
            kind = WHOLE if len(parts) == 1 else FIRST if i == 0 else MIDDLE
            kind = LAST if len(parts) > 1 and i == len(parts) - 1 else kind
            self._file.write(struct.pack("<II", MAGIC, kind << 29 | len(part)))
            self._file.write(part + bytes(-len(part) % 4))


def split_at_magic(payload: bytes) -> list[bytes]:
    """Split where the magic number stands on a 4-byte boundary, so that a scan cannot mistake it.

    Raises:
        ValueError: If a part is longer than the 29 bits of the format can say.
    """
    words = np.frombuffer(payload[: len(payload) // 4 * 4], "<u4")
    cuts = 4 * np.flatnonzero(words == MAGIC)
    starts, stops = [0, *(cuts + 4)], [*cuts, len(payload)]
    parts = [payload[a:b] for a, b in zip(starts, stops, strict=True)]
    if max(map(len, parts)) > LENGTH_MASK:
        raise ValueError(f"image: {len(payload)} bytes are more than a record holds (2^29 - 1)")
    return parts


def identity(header: RecordHeader) -> int:
    """The identity a header names: exact from ``id2`` where float32 would lose it."""
    label = header.label if header.flag == 0 else header.label[0]
    return header.id2 if label >= EXACT_FLOAT32 and header.id2 else int(label)


def image_keys(reader: RecordReader) -> list[int]:
    """Keys of the images: insightface's record 0 (flag 2, labels (a, b)) says 1 … a − 1."""
    if reader.keys and reader.keys[0] == 0:
        header, _ = reader[0]
        if header.flag == 2:
            return [key for key in reader.keys if 1 <= key < int(header.label[0])]
    return reader.keys
