"""RecordIO by :mod:`lh2face.data.recordio`."""

from lh2face.data.recordio import RecordHeader, RecordReader


class MXIndexedRecordIO:
    """A record file that is read by key."""

    def __init__(self, idx_path: str, uri: str, flag: str) -> None:
        self.reader = RecordReader(uri)
        self.keys = self.reader.keys

    def read_idx(self, key: int) -> tuple[RecordHeader, bytes]:
        """The record with this key."""
        return self.reader[int(key)]


def unpack(record: tuple[RecordHeader, bytes]) -> tuple[RecordHeader, bytes]:
    """Header and encoded image."""
    return record
