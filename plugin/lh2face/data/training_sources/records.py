"""A folder with a ``train.rec`` as a source."""

from dataclasses import dataclass
from pathlib import Path

from lh2face.data.manifest import Manifest, Origin, write_manifest
from lh2face.data.records import inspect_records
from lh2face.text import printable


@dataclass(frozen=True)
class Records:
    """A folder with a ``train.rec`` of aligned faces in insightface's format; it is not copied.

    Labels are not renumbered: they may have gaps and need not begin at 0. The number of identities
    is that in ``property``, or else the greatest label + 1.

    Attributes:
        path: The folder; ``train.idx`` and ``property`` are optional.
        origin: How the faces were made.
    """

    path: str
    origin: Origin = "photos"

    def write(self, out: Path, workers: int) -> None:
        """Implement :meth:`TrainingSource.write`; it writes only the manifest, in one thread."""
        found = inspect_records(Path(self.path))
        layout, classes = found.layout, found.classes
        manifest = Manifest(
            self.origin, self.path, True, len(layout.images), classes, 0, str(layout), found.digest
        )
        write_manifest(out, manifest)
        print(f"{printable(self.path)}: {found}")
