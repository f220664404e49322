"""Candidates and decisions equal plain loops and the evaluation; doubtful cases give no name."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lh2face.artifacts import gallery as artifact
from lh2face.artifacts.gallery import Gallery, read_gallery
from lh2face.artifacts.model import save_model
from lh2face.data.images import ImageError
from lh2face.evaluation.identification import TIE, identification
from lh2face.evaluation.roc import threshold_at_far
from lh2face.registry import MODELS
from lh2face.tools import enrol, identify

BACKBONE = {"type": "MobileFaceNet", "embedding_size": 32, "width": 0.25, "image_size": 48}


def write_model(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    config = {"type": "FaceRecognizer", "backbone": BACKBONE}
    folder.mkdir()
    save_model(folder, MODELS.build(config), config, {})
    return folder


@pytest.fixture
def gallery(tmp_path, monkeypatch, embedder, write_people) -> Path:
    """A gallery of seven people, enrolled with the random projection."""
    monkeypatch.setenv("COLUMNS", "200")
    for module in (enrol, identify):
        monkeypatch.setattr(module, "open_embedder", lambda path: embedder)
    for module in (artifact, enrol):
        monkeypatch.setattr(module, "model_digest", str)
    enrol.run(write_people(tmp_path / "people", 7), Path("m"), tmp_path / "gallery")
    return tmp_path / "gallery"


@pytest.fixture
def write_photos(face, tmp_path):
    """Returns a function that writes a new photo of each person."""

    def write(*people: int) -> list[Path]:
        paths = [tmp_path / f"new{person}.png" for person in people]
        for person, path in zip(people, paths, strict=True):
            cv2.imwrite(str(path), face(person, 99)[..., ::-1])
        return paths

    return write


def test_candidates_and_decisions_equal_those_of_plain_loops(
    gallery, embedder, face, write_photos, capsys
):
    photos = write_photos(*range(12))
    capsys.readouterr()
    identify.run(photos, gallery, Path("m"), fpir=0.5)
    header, *parts = capsys.readouterr().out.split("photo  ")

    def direction(faces):
        total = embedder(np.stack(faces)).astype(np.float64).sum(axis=(0, 1))
        return total / np.linalg.norm(total)

    templates = [direction([face(p, photo) for photo in range(3)]) for p in range(7)]
    alarms = sorted(
        max(direction([face(p, photo)]) @ templates[o] for o in range(7) if o != p)
        for p in range(7) for photo in range(3)
    )  # fmt: skip
    threshold = alarms[::-1][10]  # ten of 21 scores are above it: FPIR 0.476
    assert f"{threshold:.4f}, FPIR 0.5, measured on 21 non-mated searches" in header
    assert "of the gallery's 7 people" in header
    # Three warnings follow the last photo: a high FPIR, few false alarms, few people.
    assert parts[-1].count("warning: ") - parts[-1].count("its κ is low") == 3
    decisions = []
    for person, part in enumerate(parts):
        scores = {f"p{o}": direction([face(person, 99)]) @ templates[o] for o in range(7)}
        ranked = sorted(scores, key=scores.get, reverse=True)
        assert str(photos[person]) in part
        shown = re.findall(r"^(\d) +(\S+)  (\S+) *$", part, re.MULTILINE)
        expected = [(f"{n + 1}", f"{scores[o]:.4f}", o) for n, o in enumerate(ranked[:5])]
        assert shown == expected
        decision = ranked[0] if scores[ranked[0]] > threshold else "nobody enrolled"
        assert re.search(rf"^decision +{decision} *$", part, re.MULTILINE)
        decisions.append(decision)
    assert decisions[:7] == [f"p{person}" for person in range(7)]
    assert decisions[7:].count("nobody enrolled") >= 2


@pytest.mark.parametrize("seed", range(20))
def test_an_enrolled_photo_itself_is_found_first(seed):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(30, 2, 4)) * rng.uniform(1e-3, 1e3, (30, 1, 1))
    found = enrol.make_gallery([f"{i:02d}" for i in range(30)], embeddings)
    for person, probe in enumerate(identify.directions(embeddings, range(30))):
        scores = found.templates @ probe
        assert scores[person] == pytest.approx(1)
        assert identify.matches(scores, 1 - 1e-6).tolist() == [person]


def test_decisions_agree_with_the_evaluation():
    """Embeddings have few coordinates of whole numbers, so that many scores tie."""
    rng = np.random.default_rng(0)
    vectors = rng.integers(-2, 3, (400, 3)) + np.array([0, 0, 0.5])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery, probes = vectors[:30], vectors[30:]
    subjects = np.r_[rng.integers(0, 30, 200), np.full(170, 99)]
    scores = probes @ gallery.T
    for fpir in (0.01, 0.1, 0.3, 0.7):
        threshold = threshold_at_far(scores[200:].max(axis=1), fpir)
        found = [identify.matches(row, threshold).tolist() for row in scores]
        right = np.mean([one == [who] for one, who in zip(found, subjects[:200], strict=False)])
        assert right == identification(gallery, np.arange(30), probes, subjects, [fpir]).tpir[0]
        assert np.mean([one != [] for one in found[200:]]) <= fpir


@pytest.mark.parametrize(
    ("scores", "threshold", "expected"),
    [
        ([0.1, 0.5, 0.3], 0.4, [1]),
        ([0.1, 0.5, 0.3], 0.5, []),
        ([0.1, 0.5, 0.3], 0.5 - TIE / 2, []),
        ([0.5, 0.1, 0.5 - TIE / 2], 0.4, [0, 2]),
        ([0.5, 0.1, 0.5 - 3 * TIE], 0.4, [0]),
        ([0.5], 0.4, [0]),
        ([-0.5], -1, [0]),
    ],
)
def test_matches_are_scores_above_the_threshold_and_their_ties(scores, threshold, expected):
    assert identify.matches(np.array(scores), threshold).tolist() == expected


def test_a_tie_gives_no_name(gallery, write_photos, capsys):
    known = read_gallery(gallery, Path("m"))
    templates = known.templates.copy()
    templates[4] = templates[2]
    twins = Gallery(known.people, known.kappa, templates, known.non_mated)
    artifact.write_gallery(gallery, twins, Path("m"))
    identify.run(write_photos(2), gallery, Path("m"), threshold=0)
    assert "decision  undecided, the scores tie: p2, p4" in capsys.readouterr().out


def test_a_threshold_keeps_its_fpir():
    scores = np.random.default_rng(0).uniform(-1, 1, 1000)
    for fpir in (0.01, 0.1, 0.123, 0.5):
        limit = identify.choose_threshold(scores, 200, fpir, None)
        assert fpir - 0.001 < (scores > limit.value).mean() <= fpir
        searches = "1,000 non-mated searches of the gallery's 200 people"
        assert limit.origin == f"FPIR {fpir:g}, measured on {searches}"
        assert len(limit.doubts) == (fpir < 0.03) + (fpir > 0.01)
    assert identify.choose_threshold(scores, 200, None, None) == identify.choose_threshold(
        scores, 200, 0.01, None
    )


def test_a_given_threshold_reports_its_measured_fpir():
    scores = np.linspace(0, 1, 101)
    limit = identify.choose_threshold(scores, 200, None, 0.895)
    searches = "101 non-mated searches of the gallery's 200 people"
    assert limit.origin == f"as given, FPIR 0.109 on {searches}" and not limit.refusal
    assert [doubt.split(" ", 2)[1] for doubt in limit.doubts] == ["0.108911", "0.108911"]
    nobody = identify.choose_threshold(np.empty(0), 1, None, 0.4)
    assert nobody.value == 0.4 and "not known" in nobody.doubts[0]


def test_a_small_gallery_gives_candidates_but_no_name():
    limit = identify.choose_threshold(np.linspace(0, 1, 999), 300, None, None)
    assert limit.value is None and limit.refusal.startswith(
        "999 non-mated searches cannot show an FPIR of 0.01; enrol more people, or give a higher"
    )
    assert identify.decision(np.array([0.9, 0.1]), limit, ["a", "b"]).plain.startswith("none: 999")
    assert identify.choose_threshold(np.linspace(0, 1, 1000), 300, None, None).value is not None


@pytest.mark.parametrize(
    ("searches", "fpir", "threshold", "message"),
    [
        (
            999,
            0.01,
            None,
            "999 non-mated searches cannot show an FPIR of 0.01; enrol more people or",
        ),
        (0, 0.5, None, "0 non-mated searches cannot show an FPIR of 0.5"),
        (99, 0.1, None, "99 non-mated searches cannot show an FPIR of 0.1"),
        (99, 0, None, "--fpir: expected a rate between 0 and 1, found 0"),
        (99, 1, None, "--fpir: expected a rate between 0 and 1, found 1"),
        (99, np.nan, None, "--fpir: expected a rate between 0 and 1, found nan"),
        (99, 0.5, 0.5, "--fpir: found --threshold too; give one of them"),
        (99, None, np.nan, "--threshold: expected a cosine, −1 … 1, found nan"),
        (99, None, 1.5, "--threshold: expected a cosine, −1 … 1, found 1.5"),
    ],
)
def test_a_threshold_without_meaning_is_refused(searches, fpir, threshold, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        identify.choose_threshold(np.linspace(0, 1, searches), 100, fpir, threshold)


def test_a_low_kappa_gives_a_warning(gallery, face, write_photos, capsys):
    """Here, photos with little contrast have short embeddings."""
    photos = write_photos(0, 1)
    cv2.imwrite(str(photos[0]), 112 + face(0, 99) // 8)
    identify.run(photos, gallery, Path("m"), threshold=0)
    out = capsys.readouterr().out
    least = read_gallery(gallery, Path("m")).kappa["p5"]
    assert (
        f"warning: {photos[0]}: its κ is low, 95 % of the enrolled photos have at least {least:.2f}"
        in out
    )
    assert out.count("the photo may be poor") == 1


def test_a_photo_without_a_face_does_not_stop_the_others(gallery, write_photos, tmp_path, capsys):
    (tmp_path / "half.jpg").write_bytes(b"\xff\xd8\xff")
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((300, 300, 3), np.uint8))
    bad, good = [tmp_path / "half.jpg", tmp_path / "large.png"], write_photos(3, 5)
    capsys.readouterr()
    assert not identify.run([bad[0], good[0], bad[1], good[1]], gallery, Path("m"), threshold=-1)
    out = capsys.readouterr().out
    assert re.findall(r"^decision +(\S+) *$", out, re.MULTILINE) == ["p3", "p5"]
    assert f"warning: {bad[0]}: damaged or cut short" in out
    assert f"warning: {bad[1]}: 300 × 300 px is no aligned face" in out
    assert identify.run(good, gallery, Path("m"), threshold=-1)
    with pytest.raises(ImageError, match=r"half\.jpg: damaged or cut short"):
        identify.run(bad, gallery, Path("m"), threshold=-1)


@pytest.mark.parametrize(("grey", "word"), [(255, "not finite"), (0, "zero")])
def test_an_invalid_embedding_gives_no_verdict(gallery, write_photos, capsys, grey, word):
    photos = write_photos(0, 1)
    cv2.imwrite(str(photos[1]), np.full((112, 112, 3), grey, np.uint8))
    capsys.readouterr()
    with pytest.raises(
        ValueError, match=rf"new1\.png: the model's embedding of this face is {word}"
    ):
        identify.run(photos, gallery, Path("m"), threshold=0)
    assert capsys.readouterr().out == ""


def test_the_command_identifies_with_a_model_folder(run, write_people, tmp_path):
    """Names are printed as text; another model or a damaged gallery gives one line."""
    model, other = (write_model(tmp_path / f"model{seed}", seed) for seed in range(2))
    root, out = write_people(tmp_path / "people", 4, 1), tmp_path / "gallery"
    (root / "p0").rename(root / "[bold]\x1b\udce9")
    assert run("enrol", root, "--model", model, "--out", out)[0] == 0
    photo = root / "[bold]\x1b\udce9" / "0.png"
    search = ("identify", photo, root / "p1" / "0.png", "--gallery", out, "--threshold", "0.9999")
    code, shown, err = run(*search, "--model", model)
    assert (code, err) == (0, "") and "\x1b" not in shown
    assert re.findall(r"^decision +(\S+) *$", shown, re.MULTILINE) == [r"[bold]\x1b\udce9", "p1"]
    assert shown.count("1.0000  ") == 2 and "threshold  0.9999, as given" in shown
    for arguments, message in (
        ((*search, "--model", other), "gallery.json: the people were enrolled with another model"),
        (
            (*search[:3], "--gallery", root, "--model", model),
            "gallery.json: no such file; expected",
        ),
        (
            (*search[:3], "--gallery", out, "--model", model, "--fpir", "0.01"),
            "4 non-mated searches cannot show an",
        ),
    ):
        code, shown, err = run(*arguments)
        assert (code, shown) == (1, "") and message in err and err.count("\n") == 1, err
    code, shown, err = run(*search[:3], "--gallery", out, "--model", model)
    assert (code, err) == (3, "") and "threshold  none" in shown
    assert shown.count("decision  none: 4 non-mated searches") == 2 and shown.count("κ") == 2
