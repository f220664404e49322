"""Stage ``data``: the faces of a training source, as its files have them or made."""

from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.files.outputs import atomic_dir

if TYPE_CHECKING:
    from lh2face.params import Params


def run(params: "Params", name: str, out: Path) -> None:
    """Write a source's manifest and, where they have to be made or converted, its records.

    Args:
        params: The parameters; ``sources`` and ``workers`` are read.
        name: A key of ``sources``.
        out: Folder to write.

    Raises:
        ValueError: If there is no such source, or as the source: it names the parameter or the
            file.
    """
    source = params.source(name)
    with atomic_dir(out, [Path(source.path)]) as folder:
        source.write(folder, params.workers)
