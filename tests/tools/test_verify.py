"""Two photos are aligned by landmarks or a detector and compared; a verdict needs thresholds."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lh2face.adapters.insightface import export_onnx
from lh2face.artifacts.embeddings import read_embeddings
from lh2face.artifacts.model import model_digest, save_model
from lh2face.artifacts.thresholds import read_thresholds
from lh2face.data.align import TEMPLATE, estimate_norm, norm_crop
from lh2face.data.benchmark import read_benchmark
from lh2face.detection import Face, Mtcnn, open_insightface
from lh2face.embedding.embedders import open_embedder
from lh2face.evaluation.roc import threshold_at_far
from lh2face.params import Params, read_yaml
from lh2face.registry import MODELS
from lh2face.stages import align_benchmark, benchmark, embed, evaluate
from lh2face.stages.evaluate import thresholds
from lh2face.text import printable
from lh2face.tools import verify

BACKBONE = {"type": "MobileFaceNet", "embedding_size": 32, "width": 0.25, "image_size": 48}
HEAD = {"type": "LH2FaceHead", "num_classes": 7, "in_channels": 32, "vmf_dim": 16}
METRICS = {
    "verification": {"tar": {"0.001": None, "0.01": 0.6}, "tar_interval": {"0.01": [0.5, 0.7]}},
    "identification": {"rank": {"1": 0.9}, "tpir": {"0.1": 0.8}},
    "bins": {"frontal": {"accuracy": 0.95, "accuracy_interval": [0.9, 0.99]}},
    "kappa": {"mean": 10.0, "std": 1.0, "p5": 0.0},
    "single_images": {
        "source": "synthetic", "impostor": 1200, "threshold": {"0.1": -1.0, "0.01": 0.9999},
    },
}  # fmt: skip


@pytest.fixture
def model(tmp_path) -> Path:
    """The folder of a trained model, with an evaluation beside it."""
    torch.manual_seed(0)
    config = {"type": "FaceRecognizer", "backbone": BACKBONE, "head": HEAD}
    network = MODELS.build({**config, "head": None})
    (tmp_path / "run" / "model").mkdir(parents=True)
    made = {"seed": 3, "params": {"source": "synthetic", "train": {"train_cfg": {"max_epochs": 6}}}}
    save_model(tmp_path / "run" / "model", network, config, made)
    write_metrics(tmp_path / "run" / "evaluation" / "people", METRICS)
    write_measured(
        tmp_path / "run" / "evaluation" / "people", model_digest(tmp_path / "run" / "model")
    )
    return tmp_path / "run" / "model"


def write_measured(folder: Path, digest: str) -> None:
    made = {"model": digest, "origin": "synthetic", "people": 60}
    (folder / "provenance.json").write_text(json.dumps(made))


def write_metrics(folder: Path, metrics: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """An aligned face, another one, and the first one rotated in a larger photo."""
    rng = np.random.default_rng(0)
    blurred = [cv2.GaussianBlur(rng.integers(0, 255, (112, 112, 3), np.uint8), (0, 0), 3)
               for _ in range(2)]  # fmt: skip
    faces = [cv2.normalize(face, None, 0, 255, cv2.NORM_MINMAX) for face in blurred]
    turn = cv2.getRotationMatrix2D((56, 56), 15, 1.5) + np.array([[0, 0, 150], [0, 0, 90]])
    large = cv2.warpAffine(faces[0], turn, (400, 300), flags=cv2.INTER_CUBIC)
    paths = [tmp_path / name for name in ("a.png", "b.png", "large.png")]
    for path, image in zip(paths, [*faces, large], strict=True):
        cv2.imwrite(str(path), image)
    np.save(tmp_path / "landmarks.npy", TEMPLATE @ turn[:, :2].T + turn[:, 2])
    return paths


def score(out: str) -> float:
    return float(re.search(r"score\s+(-?[\d.]+)", out)[1])


def test_model_folder_and_onnx_file_give_the_same_score(run, model, photos, tmp_path):
    a, b, _ = photos
    evaluation = model.parent / "evaluation" / "people"
    onnx = tmp_path / "m.onnx"
    export_onnx(model, onnx, evaluation)
    code, by_folder, _ = run("verify", a, b, "--model", model)
    assert code == 0
    _, by_file, _ = run("verify", a, b, "--model", onnx)
    assert score(by_folder) == pytest.approx(score(by_file), abs=2e-4)
    for out in (by_folder, by_file):
        assert (
            "0.9999, FAR 0.01, measured on 1,200 impostor pairs of 60 people, benchmark peo" in out
        )
        assert "source of the faces: synthetic" in out
        assert "not the same person" in out and out.count("κ") == 2
        assert out.count("warning: ") == 3 and "12 false accepts" in out and "a poor" not in out
    _, same, _ = run("verify", a, b, "--model", onnx, "--far", "0.1")
    assert "-1.0000, FAR 0.1" in same and "not the same" not in same and "the same person" in same
    _, itself, _ = run("verify", a, a, "--model", onnx)
    assert score(itself) == 1 and "not the same" not in itself


def test_without_thresholds_there_is_no_verdict(run, model, photos, tmp_path):
    a, b, _ = photos
    export_onnx(model, tmp_path / "m.onnx")
    command = ("verify", a, b, "--model", tmp_path / "m.onnx")
    code, out, _ = run(*command)
    assert code == 3 and "threshold  none" in out and "same person" not in out
    assert "verdict    none: the model has no threshold; give --threshold" in out
    assert out.count("κ") == 2
    _, out, _ = run(*command, "--threshold", "-1")
    assert "-1.0000, as given" in out and "the same person" in out


def test_a_far_of_one_in_ten_gives_no_verdict(run, model, photos):
    """The user may ask for one; the score is shown in any case."""
    single = {**METRICS["single_images"], "impostor": 900, "threshold": {"0.1": -1.0}}
    metrics = {**METRICS, "single_images": single}
    write_metrics(model.parent / "evaluation" / "people", metrics)
    command = ("verify", *photos[:2], "--model", model)
    code, out, err = run(*command)
    assert (code, err) == (3, "") and "same person" not in out and -1 <= score(out) <= 1
    assert "none: the lowest FAR with a threshold is 0.1, above 0.01: one stranger in 10" in out
    for asked in (("--far", "0.1"), ("--threshold", "-0.5")):
        code, out, _ = run(*command, *asked)
        assert code == 0 and "the same person" in out
        assert "warning: FAR 0.1 lets one stranger in 10 through" in out


def test_a_poor_photo_gives_a_warning(run, model, photos):
    kappa = {**METRICS["kappa"], "p5": 1e6}
    write_metrics(model.parent / "evaluation" / "people", {**METRICS, "kappa": kappa})
    _, out, _ = run("verify", *photos[:2], "--model", model)
    out = " ".join(out.split())  # the lines are wrapped
    assert out.count("the photo may be poor and its score misleading") == 2
    assert f"warning: {photos[1]}: its κ is low, 95 % of the benchmark's faces have at least" in out


def test_a_calibrated_kappa_predicts_the_score_of_one_person(run, model, photos, tmp_path):
    ive = pytest.importorskip("scipy.special", reason="needs the pipeline extra").ive
    a, b, _ = photos
    evaluation = model.parent / "evaluation" / "people"
    assert "expected" not in run("verify", a, b, "--model", model)[1]
    write_metrics(evaluation, {**METRICS, "calibration": {"scale": 1e4, "dim": 8, "ece": 0.1}})
    export_onnx(model, onnx := tmp_path / "m.onnx", evaluation)
    printed = [
        float(re.search(r"expected +([\d.]+), the mean score of one person", out)[1])
        for out in (run("verify", a, b, "--model", source)[1] for source in (model, onnx))
    ]
    assert 0 < printed[0] < 1 and printed[0] == pytest.approx(printed[1], abs=2e-3)
    first, second = 2.5 * 4.0, 2.5 * 6.0
    expected = ive(4, first) / ive(3, first) * ive(4, second) / ive(3, second)  # A_8
    known = {"kappa": {"scale": 2.5, "dim": 8}}
    assert verify.expected_score(np.array([4.0, 6.0]), known) == pytest.approx(expected)


def test_landmarks_align_a_photo(run, monkeypatch, model, photos, tmp_path):
    a, _, large = photos
    points = np.load(tmp_path / "landmarks.npy")
    table = tmp_path / "points.csv"
    lines = [
        f"{photo},{','.join(f'{x:.3f}' for x in found.ravel())}\n"
        for photo, found in ((a, TEMPLATE), (large, points))
    ]
    table.write_text("".join(lines))
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.png").symlink_to(large)
    monkeypatch.chdir(tmp_path)
    for spelled in (large, Path(large.name), Path("sub/../large.png"), Path("link.png")):
        code, out, _ = run("verify", a, spelled, "--model", model, "--landmarks", table)
        assert code == 0 and score(out) > 0.99, spelled
    for listed, absent in ((lines[0], large), (lines[1], a)):
        table.write_text(listed)
        code, out, err = run("verify", a, large, "--model", model, "--landmarks", table)
        assert (code, out) == (1, "")
        assert err == f"lh2face: {absent}: there is no line for it in {table}\n"


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.full((5, 2), np.nan), "expected five finite (x, y)"),
        (TEMPLATE[[1, 0, 2, 4, 3]], "the eyes are swapped"),
        (
            np.full((5, 2), -1),
            "one is (-1, -1), which detectors write for a landmark that they did not find",
        ),
        (TEMPLATE + 300, "is outside the image of 112 × 112 px"),
    ],
)
def test_impossible_landmarks_name_the_photo(run, model, photos, tmp_path, points, reason):
    table = tmp_path / "points.csv"
    table.write_text("".join(f"{photo},{','.join(map(str, points.ravel()))}\n" for photo in photos))
    code, out, err = run("verify", *photos[:2], "--model", model, "--landmarks", table)
    assert (code, out) == (1, "") and err.startswith(f"lh2face: {photos[0]}: landmarks: ")
    assert reason in err and err.count("\n") == 1


def detector(path: Path, corners: np.ndarray, found: bool = True) -> Path:
    """Write an ONNX file with SCRFD's nine outputs, which finds one face in every photo."""
    import onnx
    from onnx import TensorProto, helper

    outputs, nodes = [], []
    for name, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            values = np.zeros((2 * (640 // stride) ** 2, width), np.float32)
            if stride == 8 and found:
                # Outputs of the anchor at (0, 0) are distances in strides.
                face = {"score": [0.9], "box": [0, 0, 80, 80], "points": corners.ravel() / 8}
                values[0] = face[name]
            label = f"{name}{stride}"
            tensor = onnx.numpy_helper.from_array(values, label)
            nodes.append(helper.make_node("Constant", [], [label], value=tensor))
            outputs.append(helper.make_tensor_value_info(label, TensorProto.FLOAT, values.shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "detector", [image], outputs)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_a_detector_aligns_a_photo(run, model, photos, tmp_path):
    pytest.importorskip("insightface")
    a, _, large = photos
    points = np.load(tmp_path / "landmarks.npy")
    scale = 640 / 400  # the factor by which insightface enlarges the photo
    path = detector(tmp_path / "detector.onnx", points * scale)
    (found,) = open_insightface(path)(cv2.imread(str(large)))
    np.testing.assert_allclose(found.landmarks, points, atol=0.01)
    assert found.score == pytest.approx(0.9)
    assert open_insightface(path, smallest=500)(cv2.imread(str(large))) == []
    face = verify.aligned_face(large, detect=open_insightface(path))
    expected = norm_crop(cv2.imread(str(large))[..., ::-1], points)
    assert np.abs(face.astype(float) - expected).mean() < 1
    assert estimate_norm(found.landmarks).shape == (2, 3)
    blind = detector(tmp_path / "blind.onnx", points, found=False)
    code, _, err = run("verify", a, large, "--model", model, "--detector", blind)
    assert code == 1 and err == f"lh2face: {a}: the detector finds no face\n"


def test_a_detector_is_chosen_by_name(run, model, photos, tmp_path, monkeypatch):
    """Of several faces the main one is used, and the output says so."""
    a, _, large = photos
    points = np.load(tmp_path / "landmarks.npy")

    def see(image):
        whole = np.array([0, 0, *image.shape[1::-1]])
        if image.shape[0] == 112:
            return [Face(whole, TEMPLATE, 0.9)]
        return [Face(whole / 4, TEMPLATE, 1.0), Face(whole, points, 0.9)]

    monkeypatch.setattr(Mtcnn, "open", lambda self: see)
    code, out, _ = run("verify", a, large, "--model", model, "--detector", "mtcnn")
    assert code == 0 and score(out) > 0.98
    assert f"{large}: 2 faces; the most central of the large ones is used" in out
    assert f"{a}: " not in out
    code, _, err = run("verify", a, large, "--model", model, "--detector", tmp_path / "no.onnx")
    assert code == 1
    assert (
        err == f"lh2face: --detector: expected mtcnn, or an ONNX file, found {tmp_path}/no.onnx\n"
    )


def test_a_file_that_is_no_detector_is_refused(run, model, photos, tmp_path):
    pytest.importorskip("insightface")
    import onnx

    whole = detector(tmp_path / "detector.onnx", np.zeros((5, 2)))
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "empty.onnx").write_bytes(b"")
    export_onnx(model, tmp_path / "recognizer.onnx")
    shuffled = onnx.load(whole)
    outputs = list(shuffled.graph.output)[::-1]
    del shuffled.graph.output[:]
    shuffled.graph.output.extend(outputs)
    onnx.save(shuffled, tmp_path / "shuffled.onnx")
    unknown = onnx.load(whole)
    unknown.graph.node.append(onnx.helper.make_node("Mystery", ["image"], ["z"], domain="custom"))
    onnx.save(unknown, tmp_path / "unknown.onnx")
    # insightface's own output does not follow the error, which is the last line.
    for name, message in (
        ("text", "not an ONNX file"),
        ("empty", "not an ONNX file"),
        ("recognizer", "expected 9 or 15 outputs, found 1"),
        ("shuffled", "onnxruntime cannot run it: "),
        ("unknown", "onnxruntime cannot run it: "),
    ):
        path = tmp_path / f"{name}.onnx"
        code, _, err = run("verify", *photos[:2], "--model", model, "--detector", path)
        assert code == 1 and err.startswith(f"lh2face: {path}: ") and message in err, err
        assert err.count("\n") == 1
    code, _, err = run("verify", *photos[:2], "--model", whole)
    assert code == 1 and "not a recognition model" in err and "found 9 outputs: score8" in err


def test_unusable_inputs_are_named(run, model, photos, tmp_path):
    a, b, large = photos
    (tmp_path / "text.png").write_text("no photo")
    (tmp_path / "text.onnx").write_text("no model")
    unknown = "found 0.5, the model has thresholds for 0.1, 0.01"
    for arguments, message in (
        ((a, large, "--model", model), f"{large}: 400 × 300 px is no aligned face"),
        ((a, tmp_path / "text.png", "--model", model), "text.png: not a picture"),
        ((a, b, "--model", tmp_path / "text.onnx"), "text.onnx: not an ONNX file"),
        ((a, b, "--model", model, "--far", "0.5"), unknown),
        ((a, b, "--model", model, "--far", "0.1", "--threshold", "1"), "found --threshold too"),
        ((a, b, "--model", model, "--far", "nan"), "found nan, the model has thresholds for"),
        ((a, b, "--model", model, "--threshold", "nan"), "a cosine, −1 … 1, found nan"),
        ((a, b, "--model", model, "--threshold", "inf"), "a cosine, −1 … 1, found inf"),
        ((a, b, "--model", model, "--threshold=-inf"), "a cosine, −1 … 1, found -inf"),
        ((a, b, "--model", model, "--threshold", "62"), "a cosine, −1 … 1, found 62"),
        ((a, b, "--model", model, "--landmarks", a, "--detector", b), "found --landmarks too"),
    ):
        code, _, err = run("verify", *arguments)
        assert code == 1 and message in err and err.count("\n") == 1, err


def test_the_score_equals_that_of_the_evaluation(model, tmp_path, request):
    shutil.rmtree(model.parent / "evaluation")
    rng = np.random.default_rng(0)
    for person in range(8):
        (tmp_path / "photos" / str(person)).mkdir(parents=True)
        color = rng.integers(30, 225, 3)
        for i in range(3):
            noisy = (color + 25 * rng.normal(size=(112, 112, 3))).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "photos" / str(person) / f"{i}.png"), noisy)
    names = [f"{person}/{i}.png" for person in range(8) for i in range(3)]
    rows = [f"{a},{b},{int(a[0] == b[0])}" for a, b in combinations(names, 2)]
    (tmp_path / "photos" / "all.csv").write_text("\n".join(["first,second,same", *rows]))
    raw, aligned, out = (tmp_path / name for name in ("raw", "aligned", "embeddings"))
    values = read_yaml(request.config.rootpath / "params.yaml")
    mine = {"type": "pairs", "path": str(tmp_path / "photos"), "list": "all.csv"}
    values["benchmarks"] = {"mine": mine}
    values["compare"]["benchmarks"] = ["mine"]
    params = Params.model_validate(values)
    benchmark.run(params, "mine", raw)
    align_benchmark.run(params, "mine", raw, aligned)
    embed.run(params, model, aligned, out)
    evaluate.run(params, out, aligned, model.parent / "evaluation" / "mine")
    known = read_thresholds(model)
    assert (known["benchmark"], known["bins"], known["source"]) == ("mine", ["all"], "photos")
    made = json.loads((model.parent / "evaluation" / "mine" / "provenance.json").read_text())
    assert (made["model"], made["origin"]) == (model_digest(model), "photos")
    assert made["people"] is known["people"] is None  # the list does not say who is who

    asked = read_benchmark(aligned)
    listed = asked.pairs["all"]
    stored = read_embeddings(out).sum(axis=1)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    expected = (stored[listed.first] * stored[listed.second]).sum(axis=1)
    impostors = expected[~listed.same]
    assert known["impostor"] == len(impostors) and "0.1" in known["threshold"]
    for far, threshold in known["threshold"].items():
        assert (impostors > threshold).mean() <= float(far)
    embedder, scores = open_embedder(model), []
    for rows in list(zip(listed.first, listed.second, strict=True))[:60]:
        for name, row in zip("ab", rows, strict=True):
            (tmp_path / name).write_bytes(asked.faces[int(row) + 1][1])
        faces = [verify.aligned_face(tmp_path / name) for name in "ab"]
        scores.append(verify.compare_faces(embedder, np.stack(faces), "ab")[0])
    np.testing.assert_allclose(scores, expected[:60], atol=1e-5)


def test_the_evaluation_of_another_model_is_refused(run, model, photos, tmp_path):
    evaluation, onnx = model.parent / "evaluation" / "people", tmp_path / "m.onnx"
    verify_it = ("verify", *photos[:2], "--model", model)
    export = ("export-onnx", model, onnx, "--evaluation", evaluation)
    for made, message in (
        (
            {"model": "0123456789abcdef"},
            "is the evaluation of another model: its weights have the digest 0123456789",
        ),
        ({"model": None}, "does not say which model was measured"),
        ({}, "does not say which model was measured"),
        ([], "expected a JSON object, found list"),
    ):
        (evaluation / "provenance.json").write_text(json.dumps(made))
        for command in (verify_it, export):
            code, out, err = run(*command)
            assert (code, out) == (
                1,
                "",
            ) and f"provenance.json: {'it ' * (made != [])}{message}" in err
            assert err.count("\n") == 1
    assert not onnx.exists()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("single_images", {**METRICS["single_images"], "threshold": {"0.1": float("nan")}}),
        ("single_images", {**METRICS["single_images"], "threshold": {"often": 0.5}}),
        ("single_images", {**METRICS["single_images"], "threshold": [0.5]}),
        ("single_images", {**METRICS["single_images"], "threshold": {"0": 0.5}}),
        ("single_images", {**METRICS["single_images"], "threshold": {"1": 0.5}}),
        ("single_images", {**METRICS["single_images"], "impostor": "many"}),
        ("single_images", {"threshold": {"0.1": 0.5}}),
        ("single_images", [0.5]),
        ("kappa", {}),
        ("kappa", {"p5": float("inf")}),
        ("calibration", {"scale": 0.0, "dim": 8}),
        ("calibration", {"scale": 1.0, "dim": float("nan")}),
        ("calibration", {"scale": 1.0}),
        ("bins", [1]),
    ],
)
def test_damaged_thresholds_give_no_verdict(run, model, photos, part, value):
    write_metrics(model.parent / "evaluation" / "people", {**METRICS, part: value})
    onnx = model.parent / "m.onnx"
    for command in (
        ("verify", *photos[:2], "--model", model),
        ("export-onnx", model, onnx, "--evaluation", model.parent / "evaluation" / "people"),
    ):
        code, out, err = run(*command)
        assert (code, out) == (1, "") and "metrics.json: thresholds: expected finite" in err
    assert not onnx.exists()


@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "not finite"), (np.inf, "not finite"), (0, "zero")]
)
def test_an_invalid_embedding_gives_no_verdict(run, monkeypatch, model, photos, value, word):
    for broken, photo in ((0, photos[0]), (1, photos[1])):

        def embedder(faces, broken=broken):
            embeddings = np.ones((len(faces), 2, 8), np.float32)
            embeddings[broken] = value
            return embeddings

        monkeypatch.setattr(verify, "open_embedder", lambda path: embedder)
        code, out, err = run("verify", *photos[:2], "--model", model)
        assert (code, out) == (1, "")
        assert err == f"lh2face: {photo}: the model's embedding of this face is {word}\n"


# Runs the command once for each photo of the command line, and says its exit status.
EACH = """
import sys
from lh2face.cli import main
model, *photos = sys.argv[1:]
for photo in photos:
    sys.argv[1:] = ["verify", photo, photo, "--model", model]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    print("status", code)
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_photo_may_have_any_name(model, photos, tmp_path, encoding):
    """The command runs in another process, whose output has the given encoding."""
    names = ["[old].png", "x[/c].png", ":smile:.png", "a\nb.png", "\x1b[31m.png", "caf\udce9.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(photos[0], tmp_path / name)
    kappa = {**METRICS["kappa"], "p5": 1e6}
    write_metrics(model.parent / "evaluation" / "people", {**METRICS, "kappa": kappa})
    done = subprocess.run(
        [sys.executable, "-c", EACH, model, *(tmp_path / name for name in names)],
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "300"}, capture_output=True,
    )  # fmt: skip
    *outputs, rest = done.stdout.decode(encoding).split("status 0\n")
    assert (rest, len(outputs)) == ("", len(names)), done.stderr
    for name, out in zip(names, outputs, strict=True):
        assert out.count(printable(name)) == 4 and "\x1b" not in out


def test_a_threshold_keeps_its_far():
    scores = np.random.default_rng(0).normal(size=1000)
    for far in (0.001, 0.01, 0.1, 0.123):
        accepted = (scores > threshold_at_far(scores, far)).mean()
        assert far - 0.001 < accepted <= far
    ties = np.repeat([0.1, 0.2], 50)
    assert threshold_at_far(ties, 0.3) == 0.2 and threshold_at_far(ties, 0.6) == 0.1
    with pytest.raises(ValueError, match="no impostor pairs"):
        threshold_at_far(np.empty(0), 0.1)
    # 1e-3 of a thousand pairs would be a single pair, which is chance.
    assert list(thresholds(scores)["threshold"]) == ["0.1", "0.01"]
    assert thresholds(scores[:50]) == {"impostor": 50, "threshold": {}}


def test_the_model_card_states_what_is_known(model, tmp_path):
    export_onnx(model, tmp_path / "m.onnx", model.parent / "evaluation" / "people")
    card = (tmp_path / "m.md").read_text()
    for line in (
        "# m", "Origin of the faces that it was measured on: synthetic. Values are in percent.",
        "Measured on only 60 people; by chance alone, a rate may be wrong by up to 13 points.",
        "- Faces: synthetic", "- Identities: 7", "- Head: LH2FaceHead", "- Epochs: 6",
        "| TAR at FAR 1e-2 | 60.0 | 50.0 … 70.0 |", "| rank-1 | 90.0 | – |",
        "| frontal accuracy | 95.0 | 90.0 … 99.0 |", "| 0.01 | 0.9999 |", "## Limits",
        "## Intended use",
    ):  # fmt: skip
        assert line in card.splitlines(), line
    assert "0.001" not in card and "agreed" in card
    export_onnx(model, tmp_path / "n.onnx")
    assert "None given." in (tmp_path / "n.md").read_text()
