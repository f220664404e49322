"""Stage ``benchmark``: make what the alignment of a benchmark needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.files.outputs import atomic_dir

if TYPE_CHECKING:
    from lh2face.params import Params


def run(params: "Params", name: str, out: Path) -> None:
    """Write ``source.json``, and the photographs of a benchmark if they must be made.

    Args:
        params: The parameters; ``benchmarks``, ``validation`` and ``workers`` are read.
        name: A key of ``benchmarks`` or ``validation``.
        out: Folder to write.

    Raises:
        ValueError: If there is no such benchmark, or its files cannot be used.
    """
    source = params.benchmark(name)
    with atomic_dir(out, [Path(source.path)]) as folder:
        source.write(folder, params.workers)
        (folder / "source.json").write_text(
            json.dumps(params.paired[name].model_dump(), indent=1) + "\n", encoding="utf-8"
        )
