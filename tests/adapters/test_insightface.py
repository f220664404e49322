"""insightface's own code gives, from an exported file, the embeddings of the pipeline's model."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lh2face.adapters.insightface import AreaResize, export_onnx
from lh2face.artifacts.file_names import DESCRIPTION
from lh2face.artifacts.model import save_model
from lh2face.cli import main
from lh2face.data.align import norm_crop
from lh2face.data.images import decode_rgb
from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import photograph, random_scene
from lh2face.embedding.embedders import open_embedder
from lh2face.recognizers.preprocessor import normalize_images
from lh2face.registry import MODELS

BACKBONES = [
    {"type": "MobileFaceNet", "embedding_size": 64, "width": 0.5, "image_size": 112},
    {"type": "MobileFaceNet", "embedding_size": 64, "width": 0.5, "image_size": 48},
    {"type": "MobileFaceNet", "embedding_size": 64, "width": 0.5, "image_size": 80},
    {"type": "IResNet", "depth": 18, "embedding_size": 64, "image_size": 112},
    {"type": "VisionTransformer", "width": 64, "depth": 2, "embedding_size": 64, "image_size": 112},
]


def save_untrained(folder: Path, backbone: dict, faces: list[bytes] = ()) -> Path:
    """Save an untrained model whose batch statistics are those of the faces.

    Without them all embeddings would be nearly equal."""
    torch.manual_seed(0)
    config = {"type": "FaceRecognizer", "backbone": backbone}
    model = MODELS.build(config)
    if faces:
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        size = backbone["image_size"]
        images = np.stack([decode_rgb(face, size, "test") for face in faces])
        model.train()(normalize_images(torch.from_numpy(images).permute(0, 3, 1, 2)))
    folder.mkdir()
    save_model(folder, model, config, {})
    return folder


@pytest.fixture(scope="session")
def synthetic_faces() -> list[bytes]:
    """Aligned synthetic faces, as PNG."""
    rng, seeds = np.random.default_rng(0), np.random.SeedSequence(0).spawn(4)
    scenes = [random_scene("any", rng, seed) for seed in seeds]
    taken = photograph(sample_identity(rng), scenes, 128)
    decoded = [cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_COLOR) for one in taken]
    return [png(norm_crop(i, one.landmarks)) for i, one in zip(decoded, taken, strict=True)]


@pytest.fixture(scope="session")
def real_faces(shared_data) -> list[bytes]:
    """Photos of the AT&T faces at 112 px, as PNG."""
    paths = sorted((shared_data / "att_faces").glob("s*/1.pgm"))[:12]
    return [png(cv2.resize(cv2.imread(str(path)), (112, 112))) for path in paths]


def png(bgr: np.ndarray) -> bytes:
    return cv2.imencode(".png", bgr)[1].tobytes()


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda b: f"{b['type']}-{b['image_size']}")
@pytest.mark.parametrize("faces", ["real_faces", "synthetic_faces"])
def test_get_feat_equals_the_model(tmp_path, request, faces, backbone):
    faces = request.getfixturevalue(faces)
    folder = save_untrained(tmp_path / "model", backbone, faces)
    export_onnx(folder, tmp_path / "model.onnx")
    zoo = pytest.importorskip("insightface").model_zoo
    recognizer = zoo.get_model(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    images = [cv2.imdecode(np.frombuffer(face, np.uint8), cv2.IMREAD_COLOR) for face in faces]

    found = recognizer.get_feat(images)
    expected = open_embedder(folder)(np.stack(images)[..., ::-1])[:, 0]
    kappa, expected_kappa = (np.linalg.norm(x, axis=1) for x in (found, expected))
    cosines = (found * expected).sum(1) / (kappa * expected_kappa)
    assert cosines.min() >= 0.99999
    np.testing.assert_allclose(kappa, expected_kappa, rtol=1e-5)
    assert np.ptp(kappa) > 0.05 * kappa.mean()
    assert np.corrcoef(found).min() < 0.5
    np.testing.assert_array_equal(recognizer.get_feat(images[0])[0], found[0])


@pytest.mark.parametrize("size", [16, 32, 48, 64, 80, 96])
def test_shrinking_in_the_graph_equals_opencv(size):
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    pixels = decode_rgb(png(image[..., ::-1]), size, "test").astype(np.float32)
    inputs = torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)
    found = (AreaResize(size)(inputs[None])[0].permute(1, 2, 0) + 1) * 127.5
    np.testing.assert_array_equal(found.round().numpy(), pixels)


def test_command_writes_the_file(tmp_path, monkeypatch, capsys):
    folder = save_untrained(tmp_path / "model", BACKBONES[1])
    monkeypatch.setattr(sys, "argv", ["lh2face", "export-onnx", str(folder), ""])
    sys.argv[-1] = str(tmp_path / "a.onnx")
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0 and (tmp_path / "a.onnx").stat().st_size > 100_000
    sys.argv[-1] = str(tmp_path / "a.bin")
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 1
    assert capsys.readouterr().err.startswith("lh2face: out: expected a name that ends in .onnx")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("recognizer", {"fusion": "canonical"}, "fusion: expected 'none', found"),
        (None, {"image_size": 128}, "image_size: expected at most 112, .* found 128"),
    ],
)
def test_a_model_that_cannot_be_exported_exactly_is_refused(tmp_path, part, change, message):
    folder = save_untrained(tmp_path / "model", BACKBONES[1])
    description = json.loads((folder / DESCRIPTION).read_text())
    (description[part] if part else description).update(change)
    if part is None:  # the backbone's own size must agree
        description["recognizer"]["backbone"].update(change)
    (folder / DESCRIPTION).write_text(json.dumps(description))
    with pytest.raises(ValueError, match=message):
        export_onnx(folder, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()
