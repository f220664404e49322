"""Stage ``other``: copy a third-party recognition model, which becomes a row of the table."""

import shutil
from pathlib import Path

from lh2face.artifacts.file_names import ONNX
from lh2face.embedding.onnx_recognizer import open_recognizer
from lh2face.files.outputs import atomic_dir
from lh2face.onnx.files import read_onnx, weight_files


def run(path: Path, out: Path) -> None:
    """Write a folder that can be embedded and evaluated like the folder of a trained model.

    It has a copy of the ONNX file, and of the files beside it that hold its weights.

    Args:
        path: Recognition ONNX file, such as insightface's ``w600k_r50.onnx``.
        out: Folder to write.

    Raises:
        OnnxError: If it is not such a file.
    """
    open_recognizer(path)
    with atomic_dir(out, [path]) as folder:
        shutil.copyfile(path, folder / ONNX)
        for weights in weight_files(path, read_onnx(path)):
            copy = folder / weights.relative_to(path.resolve().parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(weights, copy)
