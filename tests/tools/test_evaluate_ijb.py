"""The command evaluates a small benchmark on disk, for every way to give it embeddings."""

import csv
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lh2face.adapters.insightface import export_onnx
from lh2face.artifacts.embeddings import read_embeddings
from lh2face.artifacts.info import read_provenance
from lh2face.artifacts.model import save_model
from lh2face.cli import main
from lh2face.data.align import TEMPLATE
from lh2face.data.ijb_meta import write_meta
from lh2face.data.images import ImageError
from lh2face.data.synthetic_protocol import PROTOCOLS, synthetic_meta
from lh2face.detection import Face, Mtcnn
from lh2face.embedding import kept, photos
from lh2face.files.digests import digest
from lh2face.files.outputs import exclusive
from lh2face.params import load_params
from lh2face.registry import MODELS
from lh2face.stages import align_benchmark, benchmark, embed, evaluate
from lh2face.tools import evaluate_ijb

ROOT = Path(__file__).resolve().parents[2]
META = synthetic_meta(replace(PROTOCOLS["ijbb"].scaled(0.003), images=130, impostor=100))
BACKBONE = {"type": "MobileFaceNet", "embedding_size": 32, "width": 0.25, "image_size": 112}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A benchmark whose pictures have one colour per template, with noise."""
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


def test_the_pipeline_gives_the_same_embeddings_and_figures(root, checkpoint, tmp_path):
    """Command and stages use the same faces and the same model; the stages also with shards."""
    given = load_params(ROOT / "params.yaml")
    section = given.model_dump()
    section["benchmarks"] = {"it": {"type": "ijb", "path": str(root), "lists": "ijbb"}}
    section["compare"]["benchmarks"] = ["it"]
    section["evaluate"]["bootstrap"] = 20
    given = type(given).model_validate(section)
    benchmark.run(given, "it", tmp_path / "raw")
    align_benchmark.run(given, "it", tmp_path / "raw", tmp_path / "aligned")
    export_onnx(checkpoint, tmp_path / "model.onnx")
    protocol = evaluate_ijb.Protocol(**given.evaluate.model_dump(exclude_none=True))
    for kind, model in (("checkpoint", checkpoint), ("model", tmp_path / "model.onnx")):
        stages, command = tmp_path / f"{kind}.stages", tmp_path / f"{kind}.command"
        for shard in range(2):
            embed.run(given, model, tmp_path / "aligned", stages, shard=shard, shards=2)
        evaluate_ijb.run(root, "ijbb", command, protocol, **{kind: model})
        by_stages = read_embeddings(stages)
        by_command = np.load(command / "embeddings.npy")
        assert by_stages.tobytes() == by_command.tobytes() and by_stages.shape == by_command.shape
        evaluate.run(given, stages, tmp_path / "aligned", tmp_path / f"{kind}.evaluation")
        found, expected = (
            json.loads((folder / "metrics.json").read_text())
            for folder in (tmp_path / f"{kind}.evaluation", command)
        )
        for part in ("verification", "identification"):
            assert found[part] == expected[part]


def test_a_detector_replaces_the_landmarks_of_the_lists(
    monkeypatch, root, checkpoint, tmp_path, capsys
):
    """Where it finds no face, the lists' landmarks are used."""
    moved = TEMPLATE * 0.8 + 4

    def embeddings(out, see, *more):
        monkeypatch.setattr(Mtcnn, "open", lambda self: see)
        run(monkeypatch, root, tmp_path / out, "--checkpoint", checkpoint, *more)
        return np.load(tmp_path / out / "embeddings.npy")

    by_lists = embeddings("lists", None)
    nothing = embeddings("nothing", lambda image: [], "--detector", "mtcnn")
    np.testing.assert_array_equal(nothing, by_lists)
    expected = f"{len(META.names)} photos: no face found, so the landmarks of the lists are used"
    assert expected in capsys.readouterr().out
    # A resumed run counts all faces, not only those that it embeds itself.
    embeddings("nothing", lambda image: [], "--detector", "mtcnn")
    assert expected in capsys.readouterr().out
    see = [Face(np.r_[0:4], moved, 1.0)]
    found = embeddings("found", lambda image: see, "--detector", "mtcnn")
    assert (found != by_lists).any(axis=(1, 2)).all()
    made = json.loads((tmp_path / "found" / "provenance.json").read_text())
    assert made["data"]["detector"] == "mtcnn"
    # Embeddings that were made without the detector are not reused.
    with pytest.raises(RuntimeError):
        embeddings("lists", lambda image: see, "--detector", "mtcnn")
    assert "use another --out" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        features = tmp_path / "lists" / "embeddings.npy"
        run(monkeypatch, root, tmp_path / "f", "--features", features, "--detector", "mtcnn")
    assert "--detector: found --features too" in capsys.readouterr().err


def test_options_reach_the_protocol(monkeypatch, root, tmp_path):
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
        "matching": "mutual_likelihood", "vmf_dim": 8, "galleries": "merged",
        "formulas": "definition", "far": 0, "bootstrap": 0, "seed": 0,
    }  # fmt: skip


def test_an_interrupted_embedding_is_resumed(monkeypatch, root, checkpoint, tmp_path):
    monkeypatch.setattr(kept, "BLOCK", 50)
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
    # A second run embeds nothing.
    monkeypatch.setattr(photos, "aligned_face", None)
    evaluate_ijb.run(root, "ijbb", whole, evaluate_ijb.Protocol(), checkpoint=checkpoint)
    # After other changes, the kept embeddings are not reused.
    again = shutil.copytree(root, tmp_path / "again")
    photo, listed = (
        again / "loose_crop" / META.names[1],
        again / "meta" / "ijbb_name_5pts_score.txt",
    )
    bytes_before, text = photo.read_bytes(), listed.read_text()
    changes = {
        "other faces, somewhere in 1 to ": lambda: photo.write_bytes(
            (again / "loose_crop" / META.names[5]).read_bytes()
        ),
        "ijbb_name_5pts_score.txt; use another --out": lambda: listed.write_text(
            text.replace("2.jpg 4", "2.jpg 5")
        ),
        "embeddings.npy: changed since": lambda: np.save(whole / "embeddings.npy", parts + 1),
        "embeddings.npy: not a whole .npy file": lambda: os.truncate(whole / "embeddings.npy", 999),
    }
    for message, change in changes.items():
        change()
        with pytest.raises(ValueError, match=re.escape(message)):
            evaluate_ijb.run(again, "ijbb", whole, evaluate_ijb.Protocol(), checkpoint=checkpoint)
        photo.write_bytes(bytes_before)
        listed.write_text(text)
    assert (whole / "embeddings.npy").stat().st_size == 999
    (checkpoint / "note.txt").write_text("another model's folder")
    with pytest.raises(ValueError, match="holds embeddings of another model"):
        evaluate_ijb.run(root, "ijbb", whole, evaluate_ijb.Protocol(), checkpoint=checkpoint)
    (checkpoint / "note.txt").unlink()


def test_only_files_of_an_earlier_run_are_replaced(monkeypatch, root, checkpoint, tmp_path, capsys):
    features, out = tmp_path / "features.npy", tmp_path / "out"
    np.save(features, np.random.default_rng(0).normal(size=(len(META.names), 8)).astype("f4"))
    out.mkdir()
    for name, content in (("metrics.json", "mine"), ("progress.json", "{}"), ("roc.csv", "mine")):
        (out / name).write_text(content)
        with pytest.raises(RuntimeError):
            run(monkeypatch, root, out, "--features", features)
        assert f"out/{name}: not written by lh2face evaluate-ijb" in capsys.readouterr().err
        assert {path.name: path.read_text() for path in out.iterdir() if path.name != "lock"} == {
            name: content
        }
        (out / name).unlink()
    (out / "notes.txt").write_text("mine")
    first = run(monkeypatch, root, out, "--features", features)
    assert run(monkeypatch, root, out, "--features", features) == first
    # A run with features writes no embeddings, so a later file of embeddings is the user's.
    np.save(out / "embeddings.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"embeddings\.npy: not written by"):
        evaluate_ijb.run(root, "ijbb", out, evaluate_ijb.Protocol(), checkpoint=checkpoint)
    assert np.load(out / "embeddings.npy").shape == (3,)
    (out / "embeddings.npy").unlink()
    (out / "embeddings.npy").symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(ValueError, match=r"embeddings\.npy: not written by"):
        evaluate_ijb.run(root, "ijbb", out, evaluate_ijb.Protocol(), checkpoint=checkpoint)
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "metrics.json").read_text()) == first


def test_an_output_inside_an_input_is_refused(root, checkpoint):
    for inside in (root / "meta", root / "loose_crop" / "x", checkpoint):
        with pytest.raises(ValueError, match=r"--out is inside the input .*; choose"):
            evaluate_ijb.run(root, "ijbb", inside, evaluate_ijb.Protocol(), checkpoint=checkpoint)
    assert not (root / "loose_crop" / "x").exists() and not (root / "meta" / "lock").exists()


def test_two_runs_in_one_folder_exclude_each_other(root, checkpoint, tmp_path):
    with exclusive(tmp_path), pytest.raises(ValueError, match="works here already"):
        evaluate_ijb.run(root, "ijbb", tmp_path, evaluate_ijb.Protocol(), checkpoint=checkpoint)


def test_provenance_names_every_input(monkeypatch, root, checkpoint, tmp_path):
    run(monkeypatch, root, tmp_path / "a", "--checkpoint", checkpoint, "--seed", 3)
    made = read_provenance(tmp_path / "a" / "metrics.json")
    assert made["data"].keys() == {"meta", "checkpoint", "images"}
    assert made["data"]["checkpoint"] == digest(checkpoint)
    assert made["seed"] == 3 and made["params"]["lists"] == "ijbb" and made["params"]["flip"]
    other, quality = tmp_path / "other", tmp_path / "quality.csv"
    shutil.copytree(root, other)
    image = other / "loose_crop" / META.names[0]
    image.write_bytes(image.read_bytes() + b"\0")
    run(monkeypatch, other, tmp_path / "b", "--checkpoint", checkpoint)
    again = read_provenance(tmp_path / "b")["data"]
    assert again["images"] != made["data"]["images"] and again["meta"] == made["data"]["meta"]
    quality.write_text("".join(f"{name},{i}\n" for i, name in enumerate(META.names)))
    features = tmp_path / "a" / "embeddings.npy"
    run(monkeypatch, root, tmp_path / "c", "--features", features, "--quality", quality)
    assert read_provenance(tmp_path / "c")["data"] == {
        "meta": made["data"]["meta"], "features": digest(features), "quality": digest(quality)
    }  # fmt: skip


def test_figures_by_insightfaces_rules_say_so(monkeypatch, root, tmp_path, capsys):
    features = tmp_path / "features.npy"
    np.save(features, np.random.default_rng(0).normal(size=(len(META.names), 8)).astype("f4"))
    plain = run(monkeypatch, root, tmp_path / "a", "--features", features)
    assert "insightface" not in capsys.readouterr().out
    theirs = run(
        monkeypatch, root, tmp_path / "a", "--features", features, "--formulas", "insightface"
    )
    assert "as computed by insightface" in " ".join(capsys.readouterr().out.split())
    assert theirs["protocol"]["formulas"] == "insightface"
    assert theirs["verification"] == plain["verification"]
    assert theirs["identification"] != plain["identification"]


def test_half_precision_gives_the_figures_of_single_precision(monkeypatch, root, tmp_path):
    """A norm of 400 fits into float16, its square does not."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(META.names), 2, 32)) * rng.uniform(1, 70, (len(META.names), 1, 1))
    metrics = []
    for dtype in ("f2", "f4", "f8", ">f4", "g"):
        np.save(tmp_path / "f.npy", values.astype("f2").astype(dtype))
        found = run(monkeypatch, root, tmp_path / "out", "--features", tmp_path / "f.npy")
        metrics.append({key: found[key] for key in ("verification", "identification", "reject")})
    assert all(found == metrics[0] for found in metrics)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (["-1"] * 10, "detectors write"),
        (["0"] * 10, "detectors write"),
        (["9000"] * 10, "landmarks: "),
        ([str(9000 + v) for v in (38, 52, 74, 52, 56, 72, 42, 92, 71, 92)], "outside the image"),
        (["nan"] * 10, "expected a number, found 'nan'"),
    ],
)
def test_impossible_landmarks_are_named_with_their_line(
    root, checkpoint, tmp_path, landmarks, message
):
    bad = shutil.copytree(root, tmp_path / "bad")
    path = bad / "meta" / "ijbb_name_5pts_score.txt"
    lines = path.read_text().splitlines()
    lines[6] = " ".join([META.names[6], *landmarks, "0.9"])
    path.write_text("\n".join(lines))
    arguments = (bad, "ijbb", tmp_path / "out", evaluate_ijb.Protocol())
    with pytest.raises(ValueError, match=rf"ijbb_name_5pts_score\.txt:7: .*{message}") as raised:
        evaluate_ijb.run(*arguments, checkpoint=checkpoint)
    assert "\n" not in str(raised.value)
    if landmarks[0] == "9038":
        evaluate_ijb.run(*arguments, checkpoint=checkpoint, check_landmarks=False)


def test_a_truncated_photo_is_named(root, checkpoint, tmp_path):
    bad = shutil.copytree(root, tmp_path / "bad")
    photo = bad / "loose_crop" / META.names[6]
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 3])
    with pytest.raises(ImageError, match=rf"5pts_score\.txt:7: {META.names[6]}: "):
        evaluate_ijb.run(
            bad, "ijbb", tmp_path / "out", evaluate_ijb.Protocol(), checkpoint=checkpoint
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "seed: expected at least 0, found -1"),
        (["--bootstrap", "1000000000"], "bootstrap: expected 0, or 2 to 10000"),
        (["--bootstrap", "1"], "bootstrap: expected 0, or 2 to 10000"),
        (["--workers", "1000000"], "--workers: expected 1 to 256, found 1000000"),
    ],
)
def test_numbers_out_of_range_give_one_line(
    monkeypatch, root, tmp_path, capsys, arguments, message
):
    np.save(tmp_path / "f.npy", np.ones((len(META.names), 8), "f4"))
    with pytest.raises(RuntimeError):
        run(monkeypatch, root, tmp_path / "out", "--features", tmp_path / "f.npy", *arguments)
    found = capsys.readouterr().err
    assert message in found and found.count("\n") == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((3, 8), "f4"), r"f.npy: expected floats \(\d+, d\)"),
        (np.ones((len(META.names), 3, 8), "f4"), r"found float32 \(\d+, 3, 8\)"),
        (np.ones((len(META.names), 0), "f4"), r"f.npy: "),
        (np.ones((len(META.names), 8), "c8"), "found complex64"),
        (np.ones((len(META.names), 8), "i8"), "found int64"),
        (np.float32(1), r"found float32 \(\)"),
        (np.full((len(META.names), 8), np.nan, "f4"), r"f\.npy: .*row 0: .*found nan"),
        (np.full((len(META.names), 8), np.inf, "f4"), r"f\.npy: .*row 0: .*found (inf|nan)"),
        (np.full((len(META.names), 8), 3e38, "f4"), r"f\.npy: .*row 0: .*found inf"),
        (np.eye(len(META.names), 8, -1, "f4"), r"f\.npy: .*row 0: .*found 0\.0"),
    ],
)
def test_features_that_do_not_fit_are_named(root, tmp_path, values, message):
    np.save(tmp_path / "f.npy", values)
    with pytest.raises(ValueError, match=message):
        evaluate_ijb.run(
            root, "ijbb", tmp_path / "out", evaluate_ijb.Protocol(), features=tmp_path / "f.npy"
        )


def npy(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9, 9999999999, 99999)}\n"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 8)}\n", b"0" * 99),
        npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 8)}\n", b"0" * 99),
        npy(b"(" * 9000),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 8)}\n", b"0" * 99),
    ],
    ids=["empty", "text", "huge", "negative", "objects", "nested", "cut"],
)
def test_damaged_features_give_one_line(tmp_path, content):
    (tmp_path / "f.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"f\.npy: not a whole \.npy file") as raised:
        evaluate_ijb.read_features(tmp_path / "f.npy", 4)
    assert "\n" not in str(raised.value)


def test_a_given_quality_is_used_for_the_reject_curve(monkeypatch, root, tmp_path):
    features, quality = tmp_path / "features.npy", tmp_path / "quality.csv"
    rng = np.random.default_rng(0)
    np.save(features, rng.normal(size=(len(META.names), 8)).astype("f4"))
    with quality.open("w", newline="") as file:
        csv.writer(file).writerows([("name", "score"), *((name, 1) for name in META.names)])
    out = tmp_path / "out"
    blind = run(monkeypatch, root, out, "--features", features, "--quality", quality)
    assert 0 < blind["reject"]["area"] < 0.5 and 0 < blind["reject"]["far"] < 1
    assert 0 <= blind["reject"]["area_at_far"] < 0.5
    quality.write_text(f"{META.names[0]},1\n{META.names[1]},good\n")
    with pytest.raises(ValueError, match=r"quality.csv:2: expected name,score"):
        evaluate_ijb.read_quality(quality, META.names)
    quality.write_text(f"{META.names[0]},1\n")
    with pytest.raises(ValueError, match=f"no score for {META.names[1]}"):
        evaluate_ijb.read_quality(quality, META.names)
    quality.write_text("\ufeff1.jpg,2\r\n\r\n2.jpg,3\r\n\r\n", encoding="utf-8")
    assert evaluate_ijb.read_quality(quality, ["1.jpg", "2.jpg"]).tolist() == [2, 3]
    for second in ("2.jpg,nan", "2.jpg,inf", "2.jpg", "2.jpg,1,2", "1.jpg,4", "2.jpg,\0"):
        quality.write_text(f"1.jpg,1\n{second}\n")
        with pytest.raises(
            ValueError, match=r"quality\.csv:2: (expected name,score|a second score)"
        ):
            evaluate_ijb.read_quality(quality, ["1.jpg", "2.jpg"])
    os.truncate(quality, 1 << 40)
    with pytest.raises(ValueError, match=r"quality.csv:\d: expected name,score"):
        evaluate_ijb.read_quality(quality, META.names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected one of --model, --checkpoint, --features, found none"),
        ({"features": "f.npy", "model": "m.onnx"}, "found --model, --features"),
    ],
)
def test_exactly_one_source_of_embeddings_is_required(root, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_ijb.run(root, "ijbb", tmp_path, evaluate_ijb.Protocol(), **arguments)


def test_files_of_a_wrong_type_are_named(root, tmp_path, checkpoint):
    name = root / "loose_crop" / META.names[3]
    content = name.read_bytes()
    name.write_bytes(b"")
    with pytest.raises(ImageError, match=f"{META.names[3]}: "):
        evaluate_ijb.run(
            root, "ijbb", tmp_path / "out", evaluate_ijb.Protocol(), checkpoint=checkpoint
        )
    name.unlink()
    with pytest.raises(ValueError, match=f"_score.txt:4: .*{META.names[3]} does not exist"):
        evaluate_ijb.run(
            root, "ijbb", tmp_path / "out", evaluate_ijb.Protocol(), checkpoint=checkpoint
        )
    name.write_bytes(content)
