"""Stage ``other``: a recognition model of others, as a row of the table."""

import shutil
from pathlib import Path

from lh2face.artifacts.model import ONNX
from lh2face.embedding.onnx_recognizer import open_recognizer
from lh2face.files.outputs import atomic_dir
from lh2face.onnx.files import read_onnx, weight_files


def run(path: Path, out: Path) -> None:
    """Write a folder that is embedded and evaluated like that of a trained model.

    Args:
        path: A recognition ONNX file, such as insightface's ``w600k_r50.onnx``.
        out: Folder to write: a copy of the file, and of those beside it that hold its weights.

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
