"""``lh2face records``: convert aligned faces of any source to RecordIO files for training."""

from pathlib import Path

from lh2face.data.conversion import write_records
from lh2face.data.sources import CONVERTIBLE
from lh2face.files.outputs import atomic_dir


def run(source: str, path: Path, out: Path) -> None:
    """Write ``train.rec`` and the files that belong to it, see :func:`write_records`.

    Args:
        source: Type of the source, a key of ``CONVERTIBLE``.
        path: File or folder of the source.
        out: Folder to write.

    Raises:
        SourceError: If the source cannot be read, see :func:`write_records`.
    """
    with atomic_dir(out, [path]) as folder:
        found = write_records(CONVERTIBLE[source](path), path, folder)
    if found.left_out:
        print(f"{path}: left out {found.left_out} images, listed in {out / 'failures.csv'}")
