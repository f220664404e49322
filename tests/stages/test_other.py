"""Stage other makes a model folder of a third-party file, which gives the file's embeddings."""

import numpy as np
import onnx
import pytest
import torch

from lh2face.adapters.insightface import export_onnx
from lh2face.artifacts.model import model_digest, save_model
from lh2face.embedding.embedders import open_embedder
from lh2face.registry import MODELS
from lh2face.stages import other

BACKBONE = {"type": "MobileFaceNet", "embedding_size": 16, "width": 0.25, "image_size": 112}
FACES = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "trained").mkdir()
    config = {"type": "FaceRecognizer", "backbone": BACKBONE}
    save_model(folder / "trained", MODELS.build(config), config, {})
    export_onnx(folder / "trained", folder / "w.onnx")
    return folder / "w.onnx"


@pytest.mark.parametrize("beside", [False, True])
def test_embeddings_equal_those_of_the_file(file, tmp_path, monkeypatch, beside):
    path = tmp_path / "theirs" / "w.onnx"
    path.parent.mkdir()
    location = "weights.bin" if beside else None
    onnx.save(
        onnx.load(file), path, save_as_external_data=beside, location=location, size_threshold=0
    )
    monkeypatch.chdir(tmp_path)
    other.run(path.relative_to(tmp_path), tmp_path / "runs" / "model")
    assert (tmp_path / "runs" / "model" / "weights.bin").exists() == beside
    expected = open_embedder(path)(FACES)
    np.testing.assert_array_equal(open_embedder(tmp_path / "runs" / "model")(FACES), expected)
    assert model_digest(tmp_path / "runs" / "model") == model_digest(path)


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "w.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"w\.onnx"):
        other.run(tmp_path / "w.onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
