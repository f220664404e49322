"""IJB-B and IJB-C on disk, in insightface's layout."""

from dataclasses import dataclass
from pathlib import Path

from lh2face.data.benchmarks.raw import OnDisk, RawBenchmark
from lh2face.data.ijb_meta import IJBMeta, faces_path, image_paths, read_meta
from lh2face.data.images import read_file
from lh2face.data.manifest import Origin


@dataclass(frozen=True)
class IJB(OnDisk):
    """IJB-B or IJB-C: ``path/meta/<lists>_*`` and ``path/loose_crop``.

    Attributes:
        path: The folder.
        lists: Prefix of the files in ``meta``, such as ``ijbb`` or ``ijbc``.
        origin: How the faces were made.
    """

    path: str
    lists: str
    origin: Origin = "photos"

    def open(self, raw: Path) -> RawBenchmark:
        """Read the lists; the images are read in place.

        Raises:
            MetaError: If a list cannot be used, or names a missing image.
            FileNotFoundError: If a list is missing.
        """
        root = Path(self.path).absolute()
        return photos(root, self.lists, read_meta(root, self.lists), self.origin)


def photos(root: Path, lists: str, meta: IJBMeta, origin: Origin = "photos") -> RawBenchmark:
    """Make a benchmark from the images in a protocol's lists.

    Args:
        root: Folder with ``meta`` and ``loose_crop``.
        lists: Prefix of the lists in ``meta``.
        meta: Content of the lists.
        origin: How the faces were made.

    Raises:
        MetaError: If an image is missing.
    """
    paths, listed = image_paths(root, lists, meta.names), faces_path(root, lists)
    return RawBenchmark(
        origin=origin,
        images={"name": meta.names},
        sources=[f"{listed}:{line}: {name}" for line, name in enumerate(meta.names, start=1)],
        read=lambda row: read_file(paths[row]),
        landmarks=meta.landmarks,
        lists=(root, lists),
    )
