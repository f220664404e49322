"""Stage embed writes a row per face and mirror, in parts that join to the same bytes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lh2face.artifacts.embeddings import embedded_by, read_embeddings
from lh2face.artifacts.file_names import DESCRIPTION, WEIGHTS
from lh2face.artifacts.model import load_model, model_digest
from lh2face.data import benchmark
from lh2face.data.benchmark import FACES
from lh2face.data.recordio import RecordWriter
from lh2face.embedding import kept
from lh2face.embedding.embedders import open_embedder
from lh2face.params import load_params
from lh2face.stages import embed, untrained

ROOT = Path(__file__).resolve().parents[2]
SIZE = 32
# More than one batch, and not a multiple of the batch size.
COUNT = embed.BATCH + 3


def png(seed: int, size: int = SIZE) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def params():
    params = load_params(ROOT / "params.yaml")
    options = {"model.backbone": {"embedding_size": 12, "image_size": SIZE, "width": 0.25}}
    train = params.train.model_copy(update={"options": options})
    return params.model_copy(update={"train": train})


@pytest.fixture(scope="module")
def model(params, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("untrained") / "model"
    untrained.run(params, out, seed=3)
    return out


def write_benchmark(folder: Path, faces: list[bytes]) -> Path:
    folder.mkdir()
    with RecordWriter(folder / FACES) as writer:
        for key, face in enumerate(faces, start=1):
            writer.write(key, face, 0)
    benchmark.write_benchmark(folder, "photos", {"name": range(len(faces))}, {}, None)
    return folder


def test_rows_are_image_and_mirror_in_the_order_of_the_keys(params, model, tmp_path):
    aligned = write_benchmark(tmp_path / "aligned", [png(i) for i in range(COUNT)])
    embed.run(params, model, aligned, tmp_path / "out")
    faces = read_embeddings(tmp_path / "out")
    assert (faces.shape, faces.dtype) == ((COUNT, 2, 12), np.float32)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0"]

    recognizer = load_model(model)
    for row in (0, 7, COUNT - 1):
        pixels = cv2.imdecode(np.frombuffer(png(row), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        for index, seen in enumerate((pixels, pixels[:, ::-1])):
            inputs = torch.from_numpy((seen.astype(np.float32) - 127.5) / 127.5)
            expected = recognizer(inputs.permute(2, 0, 1)[None])[0].detach().numpy()
            np.testing.assert_allclose(faces[row, index], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shards", [2, 3, 5])
def test_shards_join_to_the_result_of_one_job(params, model, tmp_path, shards):
    aligned = write_benchmark(tmp_path / "aligned", [png(i) for i in range(COUNT + embed.BATCH)])
    embed.run(params, model, aligned, tmp_path / "whole")
    for shard in range(shards):
        embed.run(params, model, aligned, tmp_path / "parts", shard=shard, shards=shards)
    whole, joined = (read_embeddings(tmp_path / kind) for kind in ("whole", "parts"))
    assert joined.tobytes() == whole.tobytes() and joined.shape == whole.shape
    with pytest.raises(ValueError, match=rf"shard: expected 0 … {shards - 1}, found {shards}"):
        embed.run(params, model, aligned, tmp_path / "parts", shard=shards, shards=shards)


def test_a_resumed_job_ends_with_the_same_bytes(params, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kept, "BLOCK", embed.BATCH)
    aligned = write_benchmark(tmp_path / "aligned", [png(i) for i in range(3 * embed.BATCH)])
    embed.run(params, model, aligned, tmp_path / "whole")
    seen = []

    def interrupted(path):
        embedder = open_embedder(path)

        def embed_block(faces):
            if len(seen) == 2:
                raise RuntimeError("stop")
            seen.append(len(faces))
            return embedder(faces)

        return embed_block

    monkeypatch.setattr(embed, "open_embedder", interrupted)
    with pytest.raises(RuntimeError, match="stop"):
        embed.run(params, model, aligned, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "0.work").iterdir()} == {
        "embeddings.npy", "progress.json",
    }  # fmt: skip
    seen.pop()
    embed.run(params, model, aligned, tmp_path / "out")
    assert seen == [embed.BATCH] * 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0"]
    whole, again = (tmp_path / name / "0" / "embeddings.npy" for name in ("whole", "out"))
    assert again.read_bytes() == whole.read_bytes()
    # Embeddings of other faces or of another model are not reused.
    seen.clear()
    with pytest.raises(RuntimeError, match="stop"):
        embed.run(params, model, aligned, tmp_path / "out")
    monkeypatch.undo()
    untrained.run(params, tmp_path / "other", seed=4)
    embed.run(params, tmp_path / "other", aligned, tmp_path / "out")
    assert (
        "holds embeddings of another model or list; embedding begins again"
        in capsys.readouterr().out
    )
    embed.run(params, tmp_path / "other", aligned, tmp_path / "fresh")
    fresh = tmp_path / "fresh" / "0" / "embeddings.npy"
    assert again.read_bytes() == fresh.read_bytes() != whole.read_bytes()


def test_a_shard_without_faces_is_empty(params, model, tmp_path):
    aligned = write_benchmark(tmp_path / "aligned", [png(i) for i in range(3)])
    for shard in range(3):
        embed.run(params, model, aligned, tmp_path / "out", shard=shard, shards=3)
    assert read_embeddings(tmp_path / "out").shape == (3, 2, 12)


def test_embeddings_record_the_model_that_made_them(params, model, tmp_path):
    aligned = write_benchmark(tmp_path / "aligned", [png(i) for i in range(3)])
    untrained.run(params, tmp_path / "other", seed=4)
    assert embedded_by(tmp_path) == (None, None)
    for shard, by in enumerate((model, model)):
        embed.run(params, by, aligned, tmp_path / "out", shard=shard, shards=2)
    assert embedded_by(tmp_path / "out") == (model_digest(model), None)
    assert model_digest(model) != model_digest(tmp_path / "other")
    embed.run(params, tmp_path / "other", aligned, tmp_path / "out", shard=1, shards=2)
    with pytest.raises(ValueError, match="its shards were embedded by 2 models"):
        embedded_by(tmp_path / "out")


def test_embeddings_record_the_vmf_dimension_of_the_head(params, model, tmp_path):
    aligned = write_benchmark(tmp_path / "aligned", [png(i) for i in range(3)])
    trained = shutil.copytree(model, tmp_path / "trained")
    description = json.loads((trained / DESCRIPTION).read_text())
    description["head"] = {"type": "LH2FaceHead", "vmf_dim": 48}
    (trained / DESCRIPTION).write_text(json.dumps(description))
    embed.run(params, trained, aligned, tmp_path / "out")
    assert embedded_by(tmp_path / "out") == (model_digest(trained), 48)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"vmf_dim": 1}, "vmf_dim: expected a whole number of at least 2, found 1"),
        ({"vmf_dim": "64"}, "vmf_dim: expected a whole number of at least 2, found '64'"),
        ({"model": ["0"]}, r"model: expected a digest, found \['0'\]"),
    ],
)
def test_a_record_of_wrong_types_is_named(tmp_path, record, message):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "embedded_by.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"0/embedded_by\.json: {message}"):
        embedded_by(tmp_path)


def test_ten_shards_are_read_in_their_order(tmp_path):
    for shard in range(12):
        (tmp_path / str(shard)).mkdir()
        np.save(tmp_path / str(shard) / "embeddings.npy", np.full((1, 2, 3), shard, np.float32))
    assert read_embeddings(tmp_path)[:, 0, 0].tolist() == list(range(12))
    (tmp_path / "3" / "embeddings.npy").unlink()
    with pytest.raises(
        ValueError, match=r"3/embeddings\.npy: no such file, but there are 11 shards"
    ):
        read_embeddings(tmp_path)
    with pytest.raises(ValueError, match=r"expected a folder of stage embed"):
        read_embeddings(tmp_path / "0")


def test_larger_crops_are_resized_for_the_network(params, model, tmp_path):
    embed.run(params, model, write_benchmark(tmp_path / "aligned", [png(0, 112)]), tmp_path / "out")
    assert read_embeddings(tmp_path / "out").shape == (1, 2, 12)


@pytest.mark.parametrize(
    "content",
    [np.zeros((2, 2, 4), "f4"), np.zeros((2, 3, 3), "f4"), np.zeros((2, 3), "f4"),
     np.zeros((2, 2, 3), int), np.float32(1)],
)  # fmt: skip
def test_a_shard_of_another_shape_is_named(tmp_path, content):
    for shard, array in enumerate((np.zeros((1, 2, 3), np.float32), content)):
        (tmp_path / str(shard)).mkdir()
        np.save(tmp_path / str(shard) / "embeddings.npy", array)
    with pytest.raises(ValueError, match=r"1/embeddings\.npy: expected floats \(N, 2, d\)"):
        read_embeddings(tmp_path)
    path = tmp_path / "0" / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"0/embeddings\.npy: not a whole \.npy file"):
        read_embeddings(tmp_path)


@pytest.mark.parametrize(
    ("broken", "message"), [(b"", "the file is empty"), (b"not an image", "not a picture")]
)
def test_an_unreadable_face_is_named_and_no_output_is_left(
    params, model, tmp_path, broken, message
):
    aligned = write_benchmark(tmp_path / "aligned", [png(0), broken])
    with pytest.raises(ValueError, match=rf"faces\.rec: image 1: {message}"):
        embed.run(params, model, aligned, tmp_path / "out")
    assert not (tmp_path / "out" / "0").exists()


def test_untrained_network_follows_from_the_seed(params, model, tmp_path):
    for name, seed in (("same", 3), ("other", 4)):
        untrained.run(params, tmp_path / name, seed=seed)
    assert (tmp_path / "same" / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()
    assert (tmp_path / "other" / WEIGHTS).read_bytes() != (model / WEIGHTS).read_bytes()


def test_a_folder_without_a_model_is_named(model, tmp_path):
    with pytest.raises(ValueError, match=r"model\.json: no such file"):
        load_model(tmp_path)
    (tmp_path / DESCRIPTION).write_text("{")
    with pytest.raises(ValueError, match=r"model\.json: not valid JSON"):
        load_model(tmp_path)
    (tmp_path / DESCRIPTION).write_text("{}")
    with pytest.raises(ValueError, match=r"model\.json: missing \['embedding_size'"):
        load_model(tmp_path)
    (tmp_path / DESCRIPTION).write_text((model / DESCRIPTION).read_text())
    with pytest.raises(ValueError, match=r"model\.safetensors: no such file"):
        load_model(tmp_path)
    text = (model / DESCRIPTION).read_text().replace('"embedding_size": 12', '"embedding_size": 8')
    (tmp_path / DESCRIPTION).write_text(text)
    (tmp_path / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes())
    with pytest.raises(ValueError, match=r"model\.safetensors: weights do not fit"):
        load_model(tmp_path)


def test_embedding_does_not_import_modules_for_training():
    code = "import sys; import lh2face.artifacts.model, lh2face.stages.embed; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"tensorboard", "pandas", "matplotlib"} & set(modules)
