"""The server finds, aligns, compares and turns faces, and says why a photo cannot be used."""

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lh2face.data.images import ImageError
from lh2face.data.synthetic.photograph import photograph
from lh2face.demo import faces as module
from lh2face.demo.faces import ANGLES, TURN, example, open_faces, turns
from lh2face.tools.verdict import Threshold


def content(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1])


def picture(uri: str, flag=cv2.IMREAD_COLOR) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content(uri), np.uint8), flag)


def square(side: int, grey: int = 128) -> bytes:
    return cv2.imencode(".png", np.full((side, side, 3), grey, np.uint8))[1].tobytes()


def test_a_face_is_found_and_cropped(faces, photo):
    encoded = photo((160, 90, 112))
    found = faces.face(encoded, aligned=False)
    expected = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[90:202, 160:272]
    # The detector returns the template's landmarks, so the crop equals the picture.
    inner = slice(4, -4)
    np.testing.assert_allclose(picture(found["crop"])[inner, inner], expected[inner, inner], atol=1)
    assert found["box"] == pytest.approx([160 / 400, 90 / 300, 112 / 400, 112 / 300])
    assert found["notes"] == []
    assert found["turned"].startswith("data:image/webp;base64,")


def test_of_several_faces_the_main_one_is_used_and_a_note_says_so(faces, photo):
    found = faces.face(photo((0, 0, 112), (140, 90, 120), (300, 10, 40)), aligned=False)
    assert found["notes"] == ["3 faces; the most central of the large ones is used"]
    assert found["box"][:2] == pytest.approx([140 / 400, 90 / 300])


def test_the_box_of_a_shrunk_photo_is_in_pixels_of_the_original(faces, photo):
    found = faces.face(photo((1200, 900, 800), size=(2400, 3200)), aligned=False)
    assert found["notes"] == ["reduced to 1600 × 1200 px to find faces"]
    assert found["box"] == pytest.approx(
        [1200 / 3200, 900 / 2400, 800 / 3200, 800 / 2400], abs=2e-3
    )


def test_an_aligned_face_is_not_detected_again(faces):
    found = faces.face(square(112, 77), aligned=True)
    assert found["box"] is None and (picture(found["crop"]) == 77).all()
    assert picture(faces.face(square(500), aligned=True)["crop"]).shape == (112, 112, 3)


@pytest.mark.parametrize(
    ("encoded", "aligned", "reason"),
    [
        (b"", False, "the file is empty"),
        (b"no picture", False, "not a picture, or none of JPEG, PNG"),
        (square(300, 0), False, "the detector finds no face"),
        (square(300)[:-30], False, "cut short"),
        (square(55), True, "55 × 55 px is no aligned face: it must be a square of at least 56"),
    ],
)
def test_a_photo_that_cannot_be_used_gives_a_reason(faces, encoded, aligned, reason):
    with pytest.raises(ImageError) as raised:
        faces.face(encoded, aligned)
    assert reason in raised.value.reason


def test_a_photo_that_is_not_square_is_no_aligned_face(faces, photo):
    with pytest.raises(ImageError, match="400 × 300 px is no aligned face"):
        faces.face(photo(), aligned=True)


def test_without_a_detector_only_aligned_faces_are_accepted(faces):
    blind = replace(faces, detect=None, reconstructor=None)
    with pytest.raises(ImageError, match="there is no detector; only aligned"):
        blind.face(square(112), aligned=False)
    assert blind.face(square(112), aligned=True)["turned"] is None
    assert not blind.about()["detector"] and not blind.about()["reconstructor"]


def test_each_picture_of_a_turn_shows_its_angle(faces):
    """The face moves from one side to the other, and only covered pixels are opaque."""
    crop = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    strip = cv2.imdecode(np.frombuffer(turns(faces.reconstructor, crop), np.uint8), -1)
    assert strip.shape == (TURN, TURN * len(ANGLES), 4)
    covered = [part[..., 3].mean() / 255 for part in np.split(strip, len(ANGLES), axis=1)]
    middle = len(ANGLES) // 2
    assert ANGLES[middle] == 0 and covered[middle] > 0.9
    assert covered[0] < covered[middle // 2] < covered[middle] > covered[-middle // 2] > covered[-1]
    left, right = (np.split(strip, len(ANGLES), axis=1)[i][..., 3] for i in (0, -1))
    at = np.arange(TURN)
    # A face that is turned to one side covers more of the other side.
    assert (left.mean(0) @ at / left.mean(0).sum() - TURN / 2) * (
        right.mean(0) @ at / right.mean(0).sum() - TURN / 2
    ) < 0


def test_a_comparison_gives_score_verdict_and_doubts(faces):
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 255, (112, 112, 3), np.uint8) for _ in range(2))
    first, second = (cv2.imencode(".png", image)[1].tobytes() for image in (one, other))
    found = faces.score(first, second)
    views = [
        module.compare_faces(faces.embedder, np.stack([a[..., ::-1] for a in (one, other)]), "ab")
    ]
    assert found["score"] == pytest.approx(views[0][0])
    assert found["verdict"] == (
        "the same person" if found["score"] > 0.5 else "not the same person"
    )
    assert [part in doubt for part, doubt in zip(
        ("12 false accepts", "60 people", "synthetic"), found["doubts"], strict=True,
    )] == [True] * 3  # fmt: skip
    assert [kappa["value"] for kappa in found["kappa"]] == pytest.approx(views[0][1].tolist())
    assert [kappa["low"] for kappa in found["kappa"]] == [k < 15 for k in views[0][1]]
    assert found["kappa"][0]["usual"] == "the benchmark's faces: 20.00 ± 3.00"


def test_two_equal_pictures_are_reported(faces):
    found = faces.score(square(112, 99), square(112, 99))
    assert found["score"] == pytest.approx(1)
    assert found["doubts"][0].startswith("both faces are the very same picture")


def test_a_refused_verdict_is_not_shown(faces):
    limit = Threshold(0.2, "FAR 0.1", refusal="one stranger in 10 passes")
    found = replace(faces, limit=limit, kappa=None).score(square(112, 99), square(112, 30))
    assert found["verdict"] == "none: one stranger in 10 passes"
    assert found["kappa"][0]["usual"] == "" and not found["kappa"][0]["low"]


def test_a_face_without_an_embedding_is_named(faces):
    zero = replace(faces, embedder=lambda images: np.zeros((len(images), 2, 4)))
    with pytest.raises(ImageError, match="first photo: the model's embedding of this face is zero"):
        zero.score(square(112, 99), square(112, 30))


@pytest.mark.parametrize("same", [True, False])
def test_examples_are_of_one_person_or_of_two(monkeypatch, same):
    people = []

    def watched(person, *arguments):
        people.append(person)
        return photograph(person, *arguments)

    monkeypatch.setattr(module, "photograph", watched)
    first, second = map(picture, example(same))
    assert first.shape == second.shape == (112, 112, 3) and (first != second).any()
    alike = [np.array_equal(people[0][key], people[1][key]) for key in people[0]]
    assert all(alike) if same else not all(alike)
    assert example(same)[0] != example(same)[0]


def test_a_missing_detector_is_an_error_only_if_it_was_asked_for(monkeypatch, tmp_path, capsys):
    def absent(name: str):
        raise ValueError(f"{name} is not installed")

    for name in ("open_embedder", "read_thresholds"):
        monkeypatch.setattr(module, name, lambda path: None)
    monkeypatch.setattr(module, "open_named", absent)
    opened = open_faces(tmp_path, reconstructor=None, detector=None, far=None)
    assert opened.detect is None and "no threshold" in opened.limit.refusal
    assert "mtcnn is not installed; without a detector, only aligned" in capsys.readouterr().out
    with pytest.raises(ValueError, match="det is not installed"):
        open_faces(tmp_path, reconstructor=None, detector="det", far=None)
