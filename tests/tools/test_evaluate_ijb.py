"""The command on a small benchmark on disk, by every way to give it embeddings."""

import csv
import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lh2face.adapters.insightface import export_onnx
from lh2face.artifacts.model import save_model
from lh2face.cli import main
from lh2face.data.ijb_meta import write_meta
from lh2face.data.synthetic_protocol import PROTOCOLS, synthetic_meta
from lh2face.registry import MODELS
from lh2face.tools import evaluate_ijb

META = synthetic_meta(replace(PROTOCOLS["ijbb"].scaled(0.003), impostor=100))
BACKBONE = {"type": "MobileFaceNet", "embedding_size": 32, "width": 0.25, "image_size": 112}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Pictures of a colour a template, with noise."""
    root, rng = tmp_path_factory.mktemp("ijb"), np.random.default_rng(0)
    write_meta(root, "ijbb", META)
    (root / "loose_crop").mkdir()
    for name, template in zip(META.names, META.template_ids.tolist(), strict=True):
        color = np.random.default_rng(template).integers(0, 255, 3)
        image = (color + 20 * rng.normal(size=(112, 112, 3))).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(root / "loose_crop" / name), image)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    config = {"type": "FaceRecognizer", "backbone": BACKBONE}
    save_model(folder, MODELS.build(config), config, {})
    return folder


def run(monkeypatch, root, out, *arguments) -> dict:
    command = ["evaluate-ijb", "--root", root, "--protocol", "ijbb", "--out", out, *arguments]
    monkeypatch.setattr(sys, "argv", ["lh2face", *map(str, command)])
    with pytest.raises(SystemExit) as ended:
        main()
    if ended.value.code:
        raise RuntimeError(ended.value.code)
    return json.loads((out / "metrics.json").read_text())


def test_checkpoint_onnx_and_features_agree(monkeypatch, root, checkpoint, tmp_path, capsys):
    by_checkpoint = run(
        monkeypatch, root, tmp_path / "a", "--checkpoint", checkpoint, "--bootstrap", 20
    )
    assert "TPIR at FPIR" in capsys.readouterr().out
    assert by_checkpoint["verification"]["tar_interval"]
    embeddings = np.load(tmp_path / "a" / "embeddings.npy")
    assert embeddings.shape == (len(META.names), 2, 32)

    export_onnx(checkpoint, tmp_path / "model.onnx")
    run(monkeypatch, root, tmp_path / "b", "--model", tmp_path / "model.onnx")
    same = np.load(tmp_path / "b" / "embeddings.npy")
    cosines = (embeddings * same).sum(2) / np.linalg.norm(embeddings, axis=2)
    np.testing.assert_allclose(cosines / np.linalg.norm(same, axis=2), 1, atol=1e-5)

    features = tmp_path / "a" / "embeddings.npy"
    by_features = run(monkeypatch, root, tmp_path / "c", "--features", features, "--bootstrap", 20)
    assert by_features == by_checkpoint


def test_switches_reach_the_protocol(monkeypatch, root, tmp_path):
    features = tmp_path / "features.npy"
    np.save(features, np.random.default_rng(0).normal(size=(len(META.names), 8)).astype("f4"))
    metrics = run(
        monkeypatch, root, tmp_path / "out", "--features", features, "--no-norm", "--no-flip",
        "--no-detector-score", "--pooling", "kappa", "--matching", "mutual_likelihood",
        "--vmf-dim", 8, "--galleries", "merged",
    )  # fmt: skip
    assert metrics["identification"]["galleries"] == ["merged"]
    assert metrics["protocol"] | {"far": 0} == {
        "flip": False, "norm": False, "detector_score": False, "pooling": "kappa",
        "matching": "mutual_likelihood", "vmf_dim": 8, "galleries": "merged", "far": 0,
        "bootstrap": 0, "seed": 0,
    }  # fmt: skip


def test_an_interrupted_embedding_goes_on(monkeypatch, root, checkpoint, tmp_path):
    monkeypatch.setattr(evaluate_ijb, "BLOCK", 50)
    embed, blocks = evaluate_ijb.checkpoint_embedder(checkpoint), []

    def interrupted(path):
        def embedder(faces):
            if len(blocks) == 2:
                blocks.append("stop")
                raise KeyboardInterrupt
            blocks.append(len(faces))
            return embed(faces)

        return embedder

    monkeypatch.setattr(evaluate_ijb, "checkpoint_embedder", interrupted)
    arguments = (root, "ijbb", tmp_path / "out", evaluate_ijb.Protocol())
    with pytest.raises(KeyboardInterrupt):
        evaluate_ijb.run(*arguments, checkpoint=checkpoint)
    evaluate_ijb.run(*arguments, checkpoint=checkpoint)
    assert blocks[:3] == [50, 50, "stop"]
    assert 100 + sum(blocks[3:]) == len(META.names)
    whole = tmp_path / "whole"
    monkeypatch.undo()
    evaluate_ijb.run(root, "ijbb", whole, evaluate_ijb.Protocol(), checkpoint=checkpoint)
    parts = np.load(tmp_path / "out" / "embeddings.npy")
    np.testing.assert_allclose(parts, np.load(whole / "embeddings.npy"), atol=1e-5)
    # Nothing is embedded again, and another model's embeddings are not taken for this one's.
    monkeypatch.setattr(evaluate_ijb, "read_aligned", None)
    evaluate_ijb.run(root, "ijbb", whole, evaluate_ijb.Protocol(), checkpoint=checkpoint)
    (tmp_path / "other.npy").write_bytes(b"x")
    monkeypatch.setattr(evaluate_ijb, "_digest", lambda path: "another")
    with pytest.raises(ValueError, match="holds embeddings of another model"):
        evaluate_ijb.run(root, "ijbb", whole, evaluate_ijb.Protocol(), checkpoint=checkpoint)


def test_a_quality_of_ones_own_is_rejected_by(monkeypatch, root, tmp_path):
    features, quality = tmp_path / "features.npy", tmp_path / "quality.csv"
    rng = np.random.default_rng(0)
    np.save(features, rng.normal(size=(len(META.names), 8)).astype("f4"))
    with quality.open("w", newline="") as file:
        csv.writer(file).writerows([("name", "score"), *((name, 1) for name in META.names)])
    out = tmp_path / "out"
    blind = run(monkeypatch, root, out, "--features", features, "--quality", quality)
    assert 0 < blind["reject"]["area"] < 0.5
    quality.write_text(f"{META.names[0]},1\n{META.names[1]},good\n")
    with pytest.raises(ValueError, match=r"quality.csv:2: expected name,score"):
        evaluate_ijb.read_quality(quality, META.names)
    quality.write_text(f"{META.names[0]},1\n")
    with pytest.raises(ValueError, match=f"no score for {META.names[1]}"):
        evaluate_ijb.read_quality(quality, META.names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected one of --model, --checkpoint, --features, found none"),
        ({"features": "f.npy", "model": "m.onnx"}, "found --model, --features"),
    ],
)
def test_exactly_one_source(root, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_ijb.run(root, "ijbb", tmp_path, evaluate_ijb.Protocol(), **arguments)


def test_files_that_are_not_what_they_should_be(root, tmp_path, checkpoint):
    text = tmp_path / "f.npy"
    text.write_text("no array")
    with pytest.raises(ValueError, match=r"f\.npy: not a \.npy file"):
        evaluate_ijb.read_features(text)
    np.save(text, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"f\.npy: not a \.npy file"):
        evaluate_ijb.read_features(text)
    np.save(text, np.zeros((3, 4), int))
    with pytest.raises(ValueError, match=r"found int64 \(3, 4\)"):
        evaluate_ijb.read_features(text)
    name = root / "loose_crop" / META.names[3]
    content = name.read_bytes()
    name.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{META.names[3]}: not an image"):
        evaluate_ijb.run(
            root, "ijbb", tmp_path / "out", evaluate_ijb.Protocol(), checkpoint=checkpoint
        )
    name.unlink()
    with pytest.raises(ValueError, match=f"_score.txt:4: .*{META.names[3]} does not exist"):
        evaluate_ijb.run(
            root, "ijbb", tmp_path / "out", evaluate_ijb.Protocol(), checkpoint=checkpoint
        )
    name.write_bytes(content)
