"""Stage ``data``: make or convert the faces of a training source, if necessary."""

from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.files.outputs import atomic_dir

if TYPE_CHECKING:
    from lh2face.params import Params


def run(params: "Params", name: str, out: Path) -> None:
    """Write the manifest of a source, and its records if they must be made or converted.

    Args:
        params: The parameters; ``sources`` and ``workers`` are read.
        name: A key of ``sources``.
        out: Folder to write.

    Raises:
        ValueError: If there is no such source, or its files cannot be used; the message names the
            parameter or the file.
    """
    source = params.source(name)
    with atomic_dir(out, [Path(source.path)]) as folder:
        source.write(folder, params.workers)
