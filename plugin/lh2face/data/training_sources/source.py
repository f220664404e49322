"""The interface of a source of training faces, and the manifest that it writes."""

from pathlib import Path
from typing import Protocol

from lh2face.data.manifest import Manifest, Origin, write_manifest
from lh2face.data.recordio import RecordReader, record_layout
from lh2face.data.records import records_digest
from lh2face.text import printable


class TrainingSource(Protocol):
    """Interface of a source; its fields are its parameters."""

    @property
    def path(self) -> str:
        """The file or folder that DVC watches for changes."""

    def write(self, out: Path, workers: int) -> None:
        """Fill an empty folder, and print one line about what was found.

        Args:
            out: The folder.
            workers: Number of processes or threads; it does not change the result.

        Raises:
            ValueError: If the source cannot be used; the message names the file, and the record,
                row or line.
        """


def describe(
    out: Path, origin: Origin, path: str, images: int, identities: int, left_out: int = 0,
    more: str | None = None, *, aligned: bool,
) -> None:  # fmt: skip
    """Write the manifest of the records in a folder, and print a line about them."""
    layout = str(record_layout(RecordReader(out / "train.rec")))
    digest = records_digest(out)
    write_manifest(
        out, Manifest(origin, ".", aligned, images, identities, left_out, layout, digest)
    )
    if more is None:
        more = f"; left out {left_out}, listed in failures.csv" if left_out else ""
    print(f"{printable(path)}: {images} images of {identities} identities{more}")
