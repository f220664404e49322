"""A folder of people becomes a gallery that equals plain loops; unusable photos are listed."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from lh2face.artifacts import gallery as artifact
from lh2face.artifacts.gallery import read_gallery
from lh2face.artifacts.info import read_provenance
from lh2face.data.align import TEMPLATE
from lh2face.tools import enrol


@pytest.fixture
def model(tmp_path, monkeypatch, embedder) -> Path:
    """A model file; the random projection takes its place."""
    monkeypatch.setattr(enrol, "open_embedder", lambda path: embedder)
    for module in (artifact, enrol):
        monkeypatch.setattr(module, "model_digest", str)
    return tmp_path / "model"


def failures(folder: Path) -> dict[str, str]:
    with (folder / "failures.csv").open(encoding="utf-8") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def test_templates_and_searches_equal_those_of_plain_loops():
    rng = np.random.default_rng(0)
    names = list("cabacabbd")
    embeddings = rng.normal(size=(9, 2, 5)) * rng.uniform(1, 9, (9, 1, 1))
    found = enrol.make_gallery(names, embeddings)
    templates = {}
    for name in "abcd":
        total = sum(e[0] + e[1] for e, n in zip(embeddings, names, strict=True) if n == name)
        templates[name] = total / np.linalg.norm(total)
    assert list(found.people.items()) == [("a", 3), ("b", 3), ("c", 2), ("d", 1)]
    np.testing.assert_allclose(found.templates, list(templates.values()), rtol=1e-12)
    best = []
    for (image, mirror), name in zip(embeddings, names, strict=True):
        probe = (image + mirror) / np.linalg.norm(image + mirror)
        best.append(max(probe @ templates[other] for other in "abcd" if other != name))
    np.testing.assert_allclose(found.non_mated, best, rtol=1e-12)
    norms = [np.mean([np.linalg.norm(view) for view in views]) for views in embeddings]
    assert found.kappa == pytest.approx(
        {"mean": np.mean(norms), "std": np.std(norms), "p5": min(norms)}
    )


def test_a_single_person_gives_no_non_mated_search():
    found = enrol.make_gallery(["a", "a"], np.ones((2, 2, 3)))
    assert found.people == {"a": 2} and found.non_mated.shape == (0,)


def test_a_template_of_length_zero_is_refused():
    embeddings = np.array([[[1.0, 2.0]] * 2, [[1.0, 0.0]] * 2, [[-1.0, 0.0]] * 2])
    with pytest.raises(ValueError, match="b: the model's embedding of this face is zero"):
        enrol.make_gallery(["a", "b", "b"], embeddings)


def test_a_folder_is_enrolled(model, embedder, face, write_people, tmp_path, capsys):
    root = write_people(tmp_path / "people")
    enrol.run(root, model, tmp_path / "gallery")
    found = read_gallery(tmp_path / "gallery", model)
    names = [f"p{person}" for person in range(4) for _ in range(3)]
    faces = np.stack([face(person, photo) for person in range(4) for photo in range(3)])
    expected = enrol.make_gallery(names, embedder(faces))
    assert found.people == expected.people and found.kappa == pytest.approx(expected.kappa)
    np.testing.assert_allclose(found.templates, expected.templates, rtol=1e-12)
    np.testing.assert_allclose(found.non_mated, expected.non_mated, rtol=1e-12)
    assert failures(tmp_path / "gallery") == {}
    assert read_provenance(tmp_path / "gallery")["data"] == {"model": str(model)}
    out = capsys.readouterr().out
    assert "enrolled 4 people, 12 photos; 12 non-mated searches" in out and "left out" not in out
    assert "identify will not decide: 12 non-mated searches cannot show an FPIR of 0.01" in out


def test_unusable_photos_are_listed(model, write_people, tmp_path, capsys):
    root = write_people(tmp_path / "people")
    (root / "p0" / "notes.txt").write_text("no photo")
    cv2.imwrite(str(root / "p0" / "large.png"), np.zeros((90, 200, 3), np.uint8))
    cv2.imwrite(str(root / "p1" / "black.png"), np.zeros((112, 112, 3), np.uint8))
    cv2.imwrite(str(root / "p1" / "white.png"), np.full((112, 112, 3), 255, np.uint8))
    shutil.copy(root / "p0" / "0.png", root / "p0" / "again.png")
    shutil.copy(root / "p1" / "0.png", root / "p2" / "theirs.png")
    shutil.copy(root / "p1" / "1.png", root / "beside.png")
    (root / "nobody").mkdir()
    (root / "[red]\x1b").mkdir()
    (root / "[red]\x1b" / "0.jpg").write_bytes(b"")
    enrol.run(root, model, tmp_path / "gallery")
    found = read_gallery(tmp_path / "gallery", model)
    assert found.people == {"p0": 3, "p1": 2, "p2": 3, "p3": 3}
    reasons = failures(tmp_path / "gallery")
    for file, reason in {
        "p0/notes.txt": "not a picture",
        "p0/large.png": "200 × 90 px is no aligned face of 112 × 112; give --detector mtcnn, or",
        "p1/black.png": "the model's embedding of this face is zero",
        "p1/white.png": "the model's embedding of this face is not finite",
        "p0/again.png": "the same file as 0.png",
        "p2/theirs.png": "the same file as another person's, p1/0.png",
        "p1/0.png": "the same file as another person's, p2/theirs.png",
        "beside.png": "beside the people's folders",
        "nobody": "no usable photo",
        "[red]\x1b/0.jpg": "the file is empty",
        "[red]\x1b": "no usable photo",
    }.items():
        assert reasons.pop(file).startswith(reason), file
    assert not reasons
    out = capsys.readouterr().out
    assert "nobody: no usable photo, not enrolled" in out
    assert r"[red]\x1b: no usable photo, not enrolled" in out and "\x1b" not in out
    assert f"left out 11, listed in {tmp_path / 'gallery' / 'failures.csv'}" in out


def test_landmarks_align_photos_and_photos_without_them_are_listed(model, write_people, tmp_path):
    root, table = write_people(tmp_path / "people"), tmp_path / "points.csv"
    lines = [
        f"{photo},{','.join(f'{value:.4f}' for value in TEMPLATE.ravel())}\n"
        for photo in sorted(root.glob("*/*.png"))
    ]
    (root / "p1" / "circle.png").symlink_to("circle.png")
    swapped = ",".join(map(str, TEMPLATE[[1, 0, 2, 4, 3]].ravel()))
    table.write_text("".join([*lines[1:-1], f"{root / 'p3' / '2.png'},{swapped}\n"]))
    enrol.run(root, model, tmp_path / "gallery", landmarks=table)
    assert read_gallery(tmp_path / "gallery", model).people == {"p0": 2, "p1": 3, "p2": 3, "p3": 2}
    assert failures(tmp_path / "gallery") == {
        "p0/0.png": f"there is no line for it in {table}",
        "p1/circle.png": f"there is no line for it in {table}",
        "p3/2.png": "landmarks: the eyes are swapped; the first must be the left one in the image",
    }


def test_without_any_person_nothing_is_written(model, tmp_path):
    root, out = tmp_path / "people", tmp_path / "gallery"
    root.mkdir()
    with pytest.raises(
        ValueError, match=r"people: expected .*people/NAME/PHOTO, no photo can be us"
    ):
        enrol.run(root, model, out)
    (root / "p").mkdir()
    (root / "p" / "0.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"; the first: .*0\.jpg: the file is empty$"):
        enrol.run(root, model, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["people"]


def test_inputs_and_folders_of_the_user_are_not_overwritten(model, write_people, tmp_path):
    root = write_people(tmp_path / "people")
    for out in (root, root / "gallery", tmp_path):
        with pytest.raises(ValueError, match="choose another output"):
            enrol.run(root, model, out)
    assert len(list(root.iterdir())) == 4
    enrol.run(root, model, tmp_path / "gallery")
    (tmp_path / "gallery" / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match=r"holds mine\.txt"):
        enrol.run(root, model, tmp_path / "gallery")
