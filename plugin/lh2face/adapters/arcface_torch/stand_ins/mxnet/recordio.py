"""RecordIO files, read by :mod:`lh2face.data.recordio`."""

from lh2face.data.recordio import RecordHeader, RecordReader


class MXIndexedRecordIO:
    """Reader of records by key."""

    def __init__(self, idx_path: str, uri: str, flag: str) -> None:
        self.reader = RecordReader(uri)
        self.keys = self.reader.keys

    def read_idx(self, key: int) -> tuple[RecordHeader, bytes]:
        """Read the record with this key."""
        return self.reader[int(key)]


def unpack(record: tuple[RecordHeader, bytes]) -> tuple[RecordHeader, bytes]:
    """The header and the encoded image of a record."""
    return record
