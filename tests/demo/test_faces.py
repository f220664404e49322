"""What the page is told of photos: crops, places, turns, verdicts, and what cannot be used."""

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


def test_the_face_in_a_photo(faces, photo):
    encoded = photo((160, 90, 112))
    found = faces.face(encoded, aligned=False)
    expected = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[90:202, 160:272]
    inner = slice(4, -4)  # the detector's landmarks are those of the template, so is the crop
    np.testing.assert_allclose(picture(found["crop"])[inner, inner], expected[inner, inner], atol=1)
    assert found["box"] == pytest.approx([160 / 400, 90 / 300, 112 / 400, 112 / 300])
    assert found["notes"] == []
    assert found["turned"].startswith("data:image/webp;base64,")


def test_of_several_faces_the_main_one_is_used_and_it_says_so(faces, photo):
    found = faces.face(photo((0, 0, 112), (140, 90, 120), (300, 10, 40)), aligned=False)
    assert found["notes"] == ["3 faces; the most central of the large ones is used"]
    assert found["box"][:2] == pytest.approx([140 / 400, 90 / 300])


def test_a_large_photo_is_shrunk_for_the_detector_and_its_box_stays(faces, photo):
    found = faces.face(photo((1200, 900, 800), size=(2400, 3200)), aligned=False)
    assert found["notes"] == ["faces were looked for at 1600 × 1200 px"]
    assert found["box"] == pytest.approx(
        [1200 / 3200, 900 / 2400, 800 / 3200, 800 / 2400], abs=2e-3
    )


def test_an_aligned_face_is_taken_as_it_is(faces):
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
        (square(55), True, "55 × 55 px is no aligned face, which is square and has at least 56"),
    ],
)
def test_what_cannot_be_used_is_said(faces, encoded, aligned, reason):
    with pytest.raises(ImageError) as raised:
        faces.face(encoded, aligned)
    assert reason in raised.value.reason


def test_what_is_not_square_is_not_aligned(faces, photo):
    with pytest.raises(ImageError, match="400 × 300 px is no aligned face"):
        faces.face(photo(), aligned=True)


def test_without_a_detector_faces_have_to_be_aligned(faces):
    blind = replace(faces, detect=None, reconstructor=None)
    with pytest.raises(ImageError, match="there is no detector; only aligned"):
        blind.face(square(112), aligned=False)
    assert blind.face(square(112), aligned=True)["turned"] is None
    assert not blind.about()["detector"] and not blind.about()["reconstructor"]


def test_a_turn_is_the_renderers_at_each_angle(faces):
    """The face moves from one side to the other, and is opaque where the renderer covers."""
    crop = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    strip = cv2.imdecode(np.frombuffer(turns(faces.reconstructor, crop), np.uint8), -1)
    assert strip.shape == (TURN, TURN * len(ANGLES), 4)
    covered = [part[..., 3].mean() / 255 for part in np.split(strip, len(ANGLES), axis=1)]
    middle = len(ANGLES) // 2
    assert ANGLES[middle] == 0 and covered[middle] > 0.9
    assert covered[0] < covered[middle // 2] < covered[middle] > covered[-middle // 2] > covered[-1]
    left, right = (np.split(strip, len(ANGLES), axis=1)[i][..., 3] for i in (0, -1))
    at = np.arange(TURN)
    # Turned to either side, a face covers the picture's other side.
    assert (left.mean(0) @ at / left.mean(0).sum() - TURN / 2) * (
        right.mean(0) @ at / right.mean(0).sum() - TURN / 2
    ) < 0


def test_a_score_its_verdict_and_what_weakens_it(faces):
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


def test_twice_the_same_picture_is_said(faces):
    found = faces.score(square(112, 99), square(112, 99))
    assert found["score"] == pytest.approx(1)
    assert found["doubts"][0].startswith("both faces are the very same picture")


def test_a_refused_verdict_is_none(faces):
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


def test_a_detector_that_is_absent_is_no_hindrance_unless_it_was_asked_for(
    monkeypatch, tmp_path, capsys
):
    def absent(name: str):
        raise ValueError(f"{name} is not installed")

    for name in ("open_embedder", "read_thresholds"):
        monkeypatch.setattr(module, name, lambda path: None)
    monkeypatch.setattr(module, "open_named", absent)
    opened = open_faces(tmp_path, reconstructor=None, detector=None, far=None)
    assert opened.detect is None and "no threshold" in opened.limit.refusal
    assert "mtcnn is not installed; without a detector, faces have to be" in capsys.readouterr().out
    with pytest.raises(ValueError, match="det is not installed"):
        open_faces(tmp_path, reconstructor=None, detector="det", far=None)
