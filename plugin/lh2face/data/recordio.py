"""RecordIO files (``train.rec``, ``train.idx``, ``property``) without mxnet.

A record is ``u32 0xced7230a | u32 lrec | data | zeros to a multiple of 4``. The upper 3 bits of
``lrec`` are 0 for a whole record, and 1, 2, 3 for the first, a middle and the last part of a split
record. The lower 29 bits are the length of the data. A record is split wherever its payload
contains the 4 magic bytes, which are left out and must be put back between the parts. The payload
is ``<IfQQ`` (flag, label, id, id2), then ``flag`` float32 labels, then the encoded image.
"""

import codecs
import io
import mmap
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
HEADER = struct.Struct("<IfQQ")
LENGTH_MASK = (1 << 29) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)
PART = struct.Struct("<II")
# Position of the first of several labels, in words of 4 bytes from the start of the record.
FIRST_LABEL = (PART.size + HEADER.size) // 4
# Bytes of an index, and number of records, that are processed together.
BLOCK, RECORDS_AT_ONCE = 1 << 20, 1 << 20
# Bytes in memory at once while a whole record file is read; a multiple of the page size.
READ_BYTES = 1 << 24
# Size of the write buffer in bytes.
WRITE_BYTES = 1 << 20
# Every number of this many decimal digits fits into int64.
DIGITS = 18
# No file has more records than this.
MOST = 1 << 40
SHOWN = 60
# float32 is exact for integers up to here; greater identities are stored in ``id2`` too.
EXACT_FLOAT32 = 1 << 24
# Identities are int64.
GREATEST_LABEL = (1 << 63) - 1


class RecordError(ValueError):
    """A record or an index cannot be read; the message names the file, with key or offset."""


class RecordHeader(NamedTuple):
    """Header of a record; ``label`` is a scalar if ``flag`` is 0, or else ``flag`` float32."""

    flag: int
    label: float | np.ndarray
    id: int
    id2: int


class RecordReader:
    """Random access to a record file, which is memory-mapped, so processes share its pages.

    The index is read only once: forked processes share it, and spawned ones receive a copy.

    Args:
        path: The ``.rec`` file. The offsets come from the ``.idx`` file beside it. Without that,
            the file is scanned and the keys are 0, 1, 2 …

    Attributes:
        keys: ``(N,)`` int64, ascending.

    Raises:
        RecordError: If the index is malformed or points outside the file, or a file without an
            index is damaged.
        FileNotFoundError: If the record file is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._data = _mapped(self.path)
        index = self.path.with_suffix(".idx")
        if index.exists():
            self.keys, self._offsets = read_index(index)
            self._check_offsets(index)
        else:
            self._offsets = np.fromiter(self._scan(), np.int64)
            self.keys = np.arange(len(self._offsets))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, key: int) -> tuple[RecordHeader, bytes]:
        """Read the header and the encoded image of a key; a record 0 of counts has no image.

        Raises:
            RecordError: If there is no such key, or its record is damaged.
        """
        offset = int(self._offsets[self._row(key)])
        payload = MAGIC_BYTES.join(self._data[a:b] for a, b in self._parts(offset))
        where = f"{self.path}: key {key}"
        if len(payload) < HEADER.size:
            raise RecordError(f"{where}: {len(payload)} bytes, a header needs {HEADER.size}")
        flag, label, first_id, second_id = HEADER.unpack_from(payload)
        start = HEADER.size + 4 * flag
        if start > len(payload):
            raise RecordError(f"{where}: {flag} labels do not fit into {len(payload)} bytes")
        labels = np.frombuffer(payload, "<f4", flag, HEADER.size) if flag else label
        return RecordHeader(flag, labels, first_id, second_id), payload[start:]

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_data"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._data = _mapped(self.path)

    def unlisted(self, rows: Iterable[int]) -> int | None:
        """Find a record without a key directly behind one of the given records.

        Args:
            rows: Positions in ``keys`` of the given records.

        Returns:
            Its offset in the file; ``None`` if there is none.

        Raises:
            RecordError: If a record cannot be read.
        """
        ends = np.array([self._end(int(self._offsets[row])) for row in rows], np.int64)
        ends = ends[ends < len(self._data)]
        if not len(ends):
            return None
        starts = np.sort(self._offsets)
        lost = ends[np.searchsorted(starts, ends) == np.searchsorted(starts, ends, "right")]
        return int(lost[0]) if len(lost) else None

    def identities(self, keys: np.ndarray) -> np.ndarray:
        """Read the identities ``(n,)`` int64 of images from their headers.

        Args:
            keys: ``(n,)`` keys of the images, ascending.

        Raises:
            RecordError: If a label is not a whole number ≥ 0; the message names the key.
        """
        found = np.empty(len(keys), np.int64)
        for start in range(0, len(keys), RECORDS_AT_ONCE):
            block = keys[start : start + RECORDS_AT_ONCE]
            labels = self._plain_labels(np.searchsorted(self.keys, block))
            # Split or damaged records, and labels that may be inexact, are read one by one.
            plain = (labels >= 0) & (labels < EXACT_FLOAT32) & (labels % 1 == 0)
            found[start : start + len(block)] = np.where(plain, labels, 0)
            for row in np.flatnonzero(~plain):
                key = int(block[row])
                found[start + row] = identity(self[key][0], f"{self.path}: key {key}")
        return found

    def blocks(self, keys: np.ndarray) -> Iterator[tuple[memoryview, np.ndarray]]:
        """Iterate over all bytes of the file in order, in blocks.

        Args:
            keys: ``(n,)`` keys of images, ascending.

        Yields:
            A block, and the positions in ``keys`` of the records that begin in it. After the
            caller is done with a block, its memory is released.
        """
        offsets = self._offsets[np.searchsorted(self.keys, keys)]
        order = np.argsort(offsets, kind="stable")
        offsets = offsets[order]
        for start in range(0, len(self._data), READ_BYTES):
            ends = np.searchsorted(offsets, [start, start + READ_BYTES])
            yield memoryview(self._data)[start : start + READ_BYTES], order[slice(*ends)]
            self._release(start)

    def _release(self, start: int) -> None:
        """Release a block's memory: otherwise the whole mapped file counts as used by us."""
        if isinstance(self._data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self._data.madvise(mmap.MADV_DONTNEED, start, READ_BYTES)

    def _plain_labels(self, rows: np.ndarray) -> np.ndarray:
        """Read the first label of each record, float32; NaN if the record is split or damaged."""
        words = np.frombuffer(self._data, "<u4", len(self._data) // 4)
        at = self._offsets[rows] // 4
        plain = at + FIRST_LABEL < len(words)
        at[~plain] = 0
        length, flag = words[at + 1].astype(np.int64), words[at + 2].astype(np.int64)
        plain &= (words[at] == MAGIC) & (length <= LENGTH_MASK) & (length >= HEADER.size + 4 * flag)
        labels = words[np.where(plain & (flag > 0), at + FIRST_LABEL, at + 3)].view("<f4")
        return np.where(plain, labels, np.float32("nan"))

    def _row(self, key: int) -> int:
        """Find the position of a key in ``keys``."""
        row = int(np.searchsorted(self.keys, key))
        if row == len(self.keys) or self.keys[row] != key:
            raise RecordError(f"{self.path}: no record with key {key}")
        return row

    def _check_offsets(self, index: Path) -> None:
        """Raise if the index points outside the file, without large temporary arrays."""
        offsets, last = self._offsets, len(self._data) - 8
        if len(offsets) and (
            offsets.min() < 0 or offsets.max() > last or np.bitwise_or.reduce(offsets) % 4
        ):
            row = np.flatnonzero((offsets < 0) | (offsets > last) | (offsets % 4 != 0))[0]
            raise RecordError(
                f"{index}: key {self.keys[row]}: offset {offsets[row]} is outside {self.path}"
            )

    def _scan(self) -> Iterator[int]:
        offset = done = 0
        while offset < len(self._data):
            yield offset
            offset = self._end(offset)
            for start in range(done, offset - READ_BYTES, READ_BYTES):
                self._release(start)
                done = start + READ_BYTES

    def _end(self, offset: int) -> int:
        """Find the end of the record at ``offset``, including its padding."""
        *_, (_, stop) = self._parts(offset)
        return stop + -stop % 4

    def _parts(self, offset: int) -> Iterator[tuple[int, int]]:
        """Yield the start and stop of the data of each part of the record at ``offset``."""
        size, first = len(self._data), True
        while True:
            if offset + 8 > size:
                raise RecordError(f"{self.path}: offset {offset}: the file ends inside a record")
            magic, lrec = PART.unpack_from(self._data, offset)
            if magic != MAGIC:
                raise RecordError(
                    f"{self.path}: offset {offset}: expected the magic number {MAGIC:#x}, "
                    f"found {magic:#x}"
                )
            part, length = lrec >> 29, lrec & LENGTH_MASK
            if part not in ((WHOLE, FIRST) if first else (MIDDLE, LAST)):
                raise RecordError(f"{self.path}: offset {offset}: part {part} is out of place")
            start, stop = offset + 8, offset + 8 + length
            if stop > size:
                raise RecordError(f"{self.path}: offset {offset}: the file ends inside a record")
            yield start, stop
            offset, first = stop + -length % 4, False
            if part in (WHOLE, LAST):
                # Detects a wrong length, which would give less or more than one record.
                if offset < size and self._data[offset : offset + 4] != MAGIC_BYTES:
                    raise RecordError(
                        f"{self.path}: offset {start - 8}: no record follows its {length} bytes"
                    )
                return


def _mapped(path: Path) -> mmap.mmap | bytes:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected a folder with {path.name}")
    if not path.is_file():
        raise RecordError(f"{path}: not a file")
    with path.open("rb") as file:
        empty = file.seek(0, io.SEEK_END) == 0
        return b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an ``.idx`` file: lines of ``key<TAB>offset`` in any order.

    A byte order mark, CRLF line endings and blank lines are accepted.

    Returns:
        keys: ``(N,)`` int64, ascending.
        offsets: ``(N,)`` int64 offsets in the record file, in bytes.

    Raises:
        RecordError: If a line is not two whole numbers, or a key occurs twice; the message names
            the line or the key.
    """
    if not path.is_file():
        raise RecordError(f"{path}: not a file")
    with path.open("rb") as file:
        # The last line may have no line ending.
        lines = 1 + sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))
        file.seek(0)
        keys, offsets = np.empty(lines, np.int64), np.empty(lines, np.int64)
        count = line = 0
        while block := file.read(BLOCK) + file.readline():
            numbers = _numbers(block)
            if numbers is None:
                numbers = _careful_numbers(block, path, line)
            line += block.count(b"\n")
            stop = count + len(numbers) // 2
            keys[count:stop], offsets[count:stop] = numbers[0::2], numbers[1::2]
            count = stop
    keys, offsets = keys[:count], offsets[:count]
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys, kind="stable")
        keys, offsets = keys[order], offsets[order]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            raise RecordError(
                f"{path}: key {keys[twice[0]]} occurs twice, for offsets "
                f"{offsets[twice[0]]} and {offsets[twice[0] + 1]}"
            )
    return keys, offsets


def _numbers(block: bytes) -> np.ndarray | None:
    """Parse whole lines ``key<TAB>offset`` at once; ``None`` if a line has any other form."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    characters = np.frombuffer(block.removesuffix(b"\n") + b"\n", np.uint8)
    between = np.flatnonzero((characters < ord("0")) | (characters > ord("9")))
    digits = np.diff(between, prepend=-1) - 1
    if (
        (characters[between[0::2]] != ord("\t")).any()
        or (characters[between[1::2]] != ord("\n")).any()
        or len(between) % 2
        or digits.min() < 1
        or digits.max() > DIGITS
    ):
        return None
    return np.fromstring(block, np.int64, sep=" ")


def _careful_numbers(block: bytes, path: Path, before: int) -> np.ndarray:
    """Parse line by line, with errors; ``before`` is the number of lines before the block."""
    numbers: list[int] = []
    for line, text in enumerate(block.splitlines(), start=before + 1):
        fields = text.removeprefix(codecs.BOM_UTF8).strip().split(b"\t")
        if fields == [b""]:
            continue
        if len(fields) != 2 or not all(f.isdigit() and len(f) <= DIGITS for f in fields):
            shown = text[:SHOWN].decode("utf-8", "replace")
            raise RecordError(f"{path}:{line}: expected key<TAB>offset, found {shown!r}")
        numbers += map(int, fields)
    return np.array(numbers, np.int64)


class RecordWriter:
    """Writer of a record file and its index; use it as a context manager.

    Args:
        path: The ``.rec`` file; the ``.idx`` file is written beside it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> Self:
        self._file = self.path.open("wb", WRITE_BYTES)
        self._end = 0
        self._index = self.path.with_suffix(".idx").open("w", newline="\n", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._index.close()

    def write(self, key: int, image: bytes, label: int | list[float]) -> None:
        """Append a record.

        Args:
            key: Its key in the index, ≥ 0.
            image: The encoded image; empty for a record 0 of counts.
            label: The identity (from 2²⁴ on, its exact value is stored in ``id2``), or a list of
                float32 labels.

        Raises:
            ValueError: If the image is too long for a record.
        """
        if isinstance(label, int | np.integer):
            exact = label if label >= EXACT_FLOAT32 else 0
            payload = HEADER.pack(0, label, key, exact) + image
        else:
            values = np.asarray(label, "<f4")
            payload = HEADER.pack(len(values), 0, key, 0) + values.tobytes() + image
        self._index.write(f"{key}\t{self._end}\n")
        parts = split_at_magic(payload)
        for i, part in enumerate(parts):
            kind = WHOLE if len(parts) == 1 else FIRST if i == 0 else MIDDLE
            kind = LAST if len(parts) > 1 and i == len(parts) - 1 else kind
            head, zeros = PART.pack(MAGIC, kind << 29 | len(part)), bytes(-len(part) % 4)
            self._end += self._file.write(b"".join((head, part, zeros)))


def split_at_magic(payload: bytes) -> list[bytes]:
    """Split a payload at each magic number on a 4-byte boundary, and drop these numbers.

    Otherwise a scan could mistake such a number for the start of a record.

    Raises:
        ValueError: If a part is longer than 2²⁹ − 1 bytes, the limit of the format.
    """
    words = np.frombuffer(payload, "<u4", len(payload) // 4)
    cuts = (4 * np.flatnonzero(words == MAGIC)).tolist()
    starts, stops = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
    parts = [payload[a:b] for a, b in zip(starts, stops, strict=True)]
    if max(map(len, parts)) > LENGTH_MASK:
        raise ValueError(f"image: {len(payload)} bytes are more than a record holds (2^29 - 1)")
    return parts


def identity(header: RecordHeader, source: str = "record") -> int:
    """Read the identity from a header; from ``id2`` where float32 is not exact.

    Args:
        header: Header of an image; if it has several labels, the first one is used.
        source: Where the record is, for the message.

    Raises:
        RecordError: If the label is not a whole number in 0 … 2⁶³ − 1.
    """
    labels = header.label
    label = float(labels[0] if isinstance(labels, np.ndarray) else labels)
    if not (label >= 0 and label.is_integer()):
        raise RecordError(f"{source}: label {label:g}: expected a whole number from 0 on")
    found = header.id2 if label >= EXACT_FLOAT32 and header.id2 else int(label)
    if found > GREATEST_LABEL:
        raise RecordError(f"{source}: label {found}: expected at most 2^63 - 1")
    return found


class RecordLayout(NamedTuple):
    """Layout of a record file: which keys are images.

    Attributes:
        images: ``(n,)`` int64 keys of the images, ascending.
        identities: ``(m,)`` int64 keys of the identity records, which have the first and last key
            of an identity's images. Only insightface's own files have them.
        counted: Number of images according to record 0, as in insightface's files; ``None`` if
            record 0 is an image. It exceeds n if the writer left out keys.
    """

    images: np.ndarray
    identities: np.ndarray
    counted: int | None

    def __str__(self) -> str:
        kind = "no counts" if self.counted is None else f"record 0 counts {self.counted} images"
        return f"{len(self.images)} images, {len(self.identities)} identity records, {kind}"


def record_layout(reader: RecordReader) -> RecordLayout:
    """Find which records are images.

    In insightface's own files, record 0 has no image but two labels (a, b): keys 1 … a − 1 are
    images, and keys a … b − 1 are identity records, which have no image either. From 2²⁴ on,
    float32 does not hold a exactly; then the first identity record marks the end of the images. In
    other files all records are images.

    Raises:
        RecordError: If record 0, the other records and the index contradict each other.
    """
    keys = reader.keys
    if not len(keys):
        return RecordLayout(keys, keys, None)
    header, image = reader[keys[0]]
    # Several labels are not enough: im2rec writes them with each image, from key 0 on.
    if keys[0] != 0 or image or header.flag == 0:
        if _is_identity_record(reader, keys[-1]):
            raise RecordError(
                f"{reader.path}: key {keys[-1]} is an identity record, but no record 0 counts them"
            )
        return RecordLayout(keys, keys[:0], None)
    where = f"{reader.path}: record 0"
    labels = np.atleast_1d(header.label)
    a, b = labels if header.flag == 2 else (np.float32(0), np.float32(0))
    if not (a.is_integer() and b.is_integer() and 1 <= a <= b < MOST):
        raise RecordError(
            f"{where} has no image, and labels {labels[:4].tolist()}: expected (a, b), where "
            "1 … a − 1 are images and a … b − 1 identities"
        )
    # The float32 value differs from the true number by at most half of this.
    slack = int(np.spacing(a)) if a >= EXACT_FLOAT32 else 0
    window = np.searchsorted(keys, [int(a) - slack, int(a) + slack])
    end = next((i for i in range(*window) if _is_identity_record(reader, keys[i])), window[1])
    counted = int(keys[end]) - 1 if slack and end < len(keys) else int(a) - 1
    layout = RecordLayout(keys[1:end], keys[end:], counted)
    if end > 1 and _is_identity_record(reader, keys[end - 1]):
        raise RecordError(
            f"{where} counts {counted} images, but key {keys[end - 1]} is not an image"
        )
    if end < len(keys) and not _is_identity_record(reader, keys[end]):
        raise RecordError(
            f"{where} counts {counted} images, but key {keys[end]} is no identity record"
        )
    # A writer may leave out keys. If the index lost lines instead, their records still exist.
    gaps = np.flatnonzero(keys[1:] != keys[:-1] + 1) if len(keys) <= keys[-1] else keys[:0]
    lost = reader.unlisted([*gaps, len(keys) - 1])
    if lost is not None:
        raise RecordError(
            f"{reader.path.with_suffix('.idx')}: it has {layout}, but no line for the record at "
            f"offset {lost}"
        )
    return layout


def image_keys(reader: RecordReader) -> np.ndarray:
    """Return the keys ``(n,)`` int64 of the images of a record file, see :func:`record_layout`."""
    return record_layout(reader).images


def _is_identity_record(reader: RecordReader, key: int) -> bool:
    header, image = reader[key]
    return not image and header.flag == 2
