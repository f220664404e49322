"""Stage ``benchmark``: what has to be made before a benchmark's faces are aligned."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.files.outputs import atomic_dir

if TYPE_CHECKING:
    from lh2face.params import Params


def run(params: "Params", name: str, out: Path) -> None:
    """Write a benchmark's photographs, if they are not there already, and ``source.json``.

    Args:
        params: The parameters; ``benchmarks``, ``validation`` and ``workers`` are read.
        name: A key of ``benchmarks`` or ``validation``.
        out: Folder to write.

    Raises:
        ValueError: If there is no such benchmark, or as its source.
    """
    source = params.benchmark(name)
    with atomic_dir(out, [Path(source.path)]) as folder:
        source.write(folder, params.workers)
        (folder / "source.json").write_text(
            json.dumps(params.paired[name].model_dump(), indent=1) + "\n", encoding="utf-8"
        )
