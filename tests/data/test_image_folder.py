"""Every photo of an image folder is used or listed, and landmark files of any editor are read."""

import csv
import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from lh2face.data import template_lists
from lh2face.data.benchmarks.image_folder import ImageFolderBenchmark
from lh2face.data.image_folder import ImageFolderError, held_out, read_landmarks
from lh2face.data.parameters import HeldOut
from lh2face.data.recordio import RecordReader
from lh2face.data.synthetic import generate
from lh2face.data.training_sources import ImageFolder

RNG = np.random.default_rng(0)
FACE = [40, 52, 75, 52, 57, 72, 43, 92, 72, 92]


def folder(root, people=8, images=3):
    for person in range(people):
        (root / f"p{person}").mkdir(parents=True)
        for i in range(images):
            picture = RNG.integers(0, 256, (112, 112, 3), np.uint8)
            cv2.imwrite(str(root / f"p{person}" / f"{i}.jpg"), picture)
    return root


def run(root, out, landmarks=None):
    options = {"aligned": landmarks is None, "landmarks": landmarks, "held_out": HeldOut(0.5)}
    for part, kind in (("train", ImageFolder), ("benchmark", ImageFolderBenchmark)):
        (out / part).mkdir(parents=True)
        kind(str(root), **options).write(out / part, 1)
    with (out / "train" / "failures.csv").open(encoding="utf-8") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def used(out):
    """Return the number of photos in the training set and in the benchmark."""
    train = len(RecordReader(out / "train" / "train.rec")) - 1
    return train + len(list((out / "benchmark" / "loose_crop").iterdir()))


@pytest.mark.timeout(60)
def test_every_picture_is_used_or_listed(tmp_path):
    root = folder(tmp_path / "photos")
    (root / "p0" / "session").mkdir()
    (root / ".thumbnails").mkdir()
    for name in ("beside.jpg", "p0/session/a.jpg", ".thumbnails/a.jpg", ".thumbnails/b.jpg"):
        (root / name).write_bytes((root / "p1" / "0.jpg").read_bytes())
    (root / "p0" / ".DS_Store").touch()
    (root / "p0" / "gone.jpg").symlink_to("/nowhere/gone.jpg")
    os.mkfifo(root / "p0" / "pipe.jpg")
    (root / "p0" / "large.jpg").touch()
    os.truncate(root / "p0" / "large.jpg", 20 << 30)
    (root / "again").symlink_to("p2")
    failures = run(root, tmp_path / "out")
    assert used(tmp_path / "out") == 8 * 3
    assert failures.keys() == {
        "beside.jpg", "p0/session/a.jpg", ".thumbnails", "p0/gone.jpg", "p0/pipe.jpg",
        "p0/large.jpg", "again",
    }  # fmt: skip
    assert "2 pictures in it" in failures[".thumbnails"] and "as p2" in failures["again"]
    assert not list((tmp_path / "out").glob("tmp*"))


def test_equal_files_of_a_person_count_once_and_of_two_people_never(tmp_path):
    """A pair of equal files shows nothing, and one of two names for the same file is wrong."""
    root = folder(tmp_path / "photos")
    (root / "p0" / "copy.jpg").write_bytes((root / "p0" / "0.jpg").read_bytes())
    (root / "p1" / "mine.jpg").write_bytes((root / "p2" / "1.jpg").read_bytes())
    failures = run(root, tmp_path / "out")
    assert failures == {
        "p0/copy.jpg": "the same file as 0.jpg",
        "p1/mine.jpg": "the same file as another person's, p2/1.jpg",
        "p2/1.jpg": "the same file as another person's, p1/mine.jpg",
    }
    assert used(tmp_path / "out") == 8 * 3 - 1


def write_landmarks(path, root, change=None, form="{},{}\n", join=","):
    photos = sorted(path.relative_to(root) for path in root.glob("*/*.jpg"))
    points = [(change or {}).get(str(photo), FACE) for photo in photos]
    lines = [form.format(p, join.join(map(str, v))) for p, v in zip(photos, points, strict=True)]
    path.write_text("".join(lines), "utf-8", newline="")
    return path


def test_photos_with_impossible_landmarks_are_listed(tmp_path):
    root = folder(tmp_path / "photos")
    bad = {"p0/0.jpg": ["nan"] * 10, "p1/1.jpg": [-1] * 10, "p2/2.jpg": [9000 + v for v in FACE]}
    points = write_landmarks(root / "l.csv", root, bad)
    points.write_text("".join(points.read_text().splitlines(keepends=True)[:-1]))
    failures = run(root, tmp_path / "out", "l.csv")
    assert failures.keys() == {*bad, "p7/2.jpg"} and used(tmp_path / "out") == 8 * 3 - 4
    assert failures["p7/2.jpg"] == "it is not in the landmark file"


FORMS = {
    "commas": ("{},{}\n", ","),
    "tabs": ("{}\t{}\n", "\t"),
    "Windows": ("{},{}\r\n", ","),
    "mark": ("{},{}\n", ","),
    "blank lines": ("\n{},{}\n \n,,\n", ","),
    "blanks": ("{}, {}\n", ", "),
}


@pytest.mark.parametrize("name", FORMS)
def test_landmark_files_are_read_as_editors_save_them(tmp_path, name):
    root = folder(tmp_path / "photos", 2, 1)
    path = write_landmarks(tmp_path / "l.csv", root, None, *FORMS[name])
    if name == "mark":
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    found = read_landmarks(path, root)
    assert found.keys() == {(root / "p0/0.jpg").resolve(), (root / "p1/0.jpg").resolve()}
    for points in found.values():
        np.testing.assert_array_equal(points, np.reshape(FACE, (5, 2)))


def test_paths_in_landmark_files_are_normalised(tmp_path, monkeypatch):
    root = folder(tmp_path / "photos", 1, 1)
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "l.csv").write_text(f"p0/../p0/0.jpg,{','.join(map(str, FACE))}\n")
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "link", "photos/../photos", str(root)):
        found = read_landmarks(Path("l.csv"), Path(name))
        assert list(found) == [(root / "p0" / "0.jpg").resolve()]


def test_landmark_files_may_name_any_file(tmp_path):
    name = os.fsdecode(b"\xe4.jpg")
    (tmp_path / name).touch()
    (tmp_path / "l.csv").write_bytes(os.fsencode(name) + b"," + b",".join([b"1"] * 10))
    assert list(read_landmarks(tmp_path / "l.csv", tmp_path)) == [(tmp_path / name).resolve()]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,1,2,3,4,5,6,7,8,9,10\n\na,1,2,3,4,5,6,7,8,9,11\n", "l.csv:3: a has other landmarks"),
        ("gone,1,2,3,4,5,6,7,8,9,10", "l.csv:1: there is no image"),
        ("a\0,1,2,3,4,5,6,7,8,9,10", "l.csv:1: "),
        ("\n\na,1,2", "l.csv:3: expected 10 numbers"),
        ("a" * 200_000, "l.csv:1: "),
        ("loop,1,2", "l.csv:1: expected 10 numbers"),
        (None, "l.csv is not a file"),
    ],
)
def test_bad_landmark_files_are_named(tmp_path, content, message):
    (tmp_path / "a").touch()
    (tmp_path / "loop").symlink_to("loop")
    if content is None:
        os.mkfifo(tmp_path / "l.csv")
    else:
        (tmp_path / "l.csv").write_text(content)
    with pytest.raises(ImageFolderError, match=message):
        read_landmarks(tmp_path / "l.csv", tmp_path)


def test_a_line_that_is_repeated_is_accepted(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "l.csv").write_text("a,nan,2,3,4,5,6,7,8,9,10\n" * 2)
    assert len(read_landmarks(tmp_path / "l.csv", tmp_path)) == 1


def test_no_verification_pair_repeats_an_image(tmp_path):
    """There are two photos per person, so half of independent draws would repeat an image."""
    run(folder(tmp_path / "photos", images=2), tmp_path / "out")
    with (tmp_path / "out" / "benchmark" / "pairs" / "photos.csv").open() as file:
        pairs = [(row["first"], row["second"]) for row in csv.DictReader(file)]
    assert len(pairs) == 600 and all(first != second for first, second in pairs)


def test_no_pair_of_a_synthetic_bin_repeats_an_image():
    rows = [
        {"identity": person, "kind": "frontal", "name": f"{person}-{i}"}
        for person in range(3)
        for i in range(2)
    ]
    pairs = list(generate._bin_pairs(rows, "frontal", 200, np.random.default_rng(0)))
    assert all(first != second for first, second, _ in pairs)
    same = [first[0] == second[0] for first, second, _ in pairs]
    assert same == [bool(label) for *_, label in pairs] == [True, False] * 200


def test_few_templates_give_all_pairs():
    first, second = template_lists.template_pairs(
        np.repeat(np.arange(4), 2), np.random.default_rng(0)
    )
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert pairs == [(a, b) for a in range(8) for b in range(a + 1, 8)]


@pytest.mark.parametrize("templates", [41, 42, 43, 300])
def test_impostor_pairs_of_many_templates_are_sampled(monkeypatch, templates):
    """All genuine pairs are there, and so many impostor pairs that every template has about
    ``IMPOSTORS``; no pair comes twice."""
    most = 20
    monkeypatch.setattr(template_lists, "IMPOSTORS", most)
    subjects = np.arange(templates) // 3
    first, second = template_lists.template_pairs(subjects, np.random.default_rng(0))
    assert (first < second).all() and (np.diff(first) >= 0).all()
    assert len(np.unique(first * templates + second)) == len(first)
    genuine = subjects[first] == subjects[second]
    sizes = np.bincount(subjects)
    assert genuine.sum() == (sizes * (sizes - 1) // 2).sum()
    times = np.bincount(np.r_[first[~genuine], second[~genuine]], minlength=templates)
    assert 2 * most - 2 <= times.min() and times.max() <= 2 * most
    assert templates * (most - 1) <= (~genuine).sum() <= templates * most
    if templates > 2 * most + 1:
        other = template_lists.template_pairs(subjects, np.random.default_rng(1))
        assert set(zip(*other, strict=True)) != set(zip(first, second, strict=True))


def test_several_folds_hold_out_the_people_of_each():
    found = SimpleNamespace(people=range(11), root=Path("photos"))

    def kept(fold: int | list[int]) -> list[int]:
        return held_out(found, 0.25, fold, np.random.default_rng(5)).tolist()

    assert kept([0, 2]) == sorted([*kept(0), *kept(2)]) and len(kept([0, 2])) == 6
    with pytest.raises(ImageFolderError, match=r"expected 0 … 2 \(fraction .*, found 3"):
        kept([0, 3])
