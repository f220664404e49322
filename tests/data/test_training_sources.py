"""Each type of source writes its faces or refers to them without a copy; bad inputs are named."""

import csv
import io
import tarfile

import cv2
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet as pq
from pydantic import TypeAdapter, ValidationError

from lh2face.data.align import TEMPLATE
from lh2face.data.benchmarks.image_folder import ImageFolderBenchmark
from lh2face.data.datasets import RecordFaces
from lh2face.data.image_folder import ImageFolderError
from lh2face.data.images import decode_rgb, encode_jpeg
from lh2face.data.manifest import Manifest, read_manifest
from lh2face.data.parameters import HeldOut
from lh2face.data.recordio import RecordReader, RecordWriter, image_keys
from lh2face.data.records import records_digest
from lh2face.data.sources import SourceError
from lh2face.data.synthetic import SyntheticConfig
from lh2face.data.synthetic import write_train as write_people
from lh2face.data.training_sources import (
    TRAINING_SOURCES,
    ImageFolder,
    MagfaceList,
    Parquet,
    Records,
    Synthetic,
    WebDataset,
)

RNG = np.random.default_rng(0)


def picture(height=112, width=112, extension=".png"):
    image = RNG.integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(extension, image)[1].tobytes()


def write(source, out, workers=1):
    out.mkdir(parents=True)
    source.write(out, workers)
    return read_manifest(out)


def contents(folder):
    """Return identity and bytes of every image of a record file, read with RecordReader."""
    reader = RecordReader(folder / "train.rec")
    found = [(reader[key][0], reader[key][1]) for key in image_keys(reader)]
    return [(int(header.label), content) for header, content in found]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- parameters -----------------------------------------------------------------------------------


def test_every_type_is_registered_and_has_a_path():
    assert list(TRAINING_SOURCES) == [
        "synthetic", "image_folder", "records", "magface_list", "parquet", "webdataset",
    ]  # fmt: skip
    for cls in TRAINING_SOURCES.values():
        assert next(iter(cls.__dataclass_fields__)) == "path"
        assert TypeAdapter(cls).validate_python({"path": "x"}) == cls("x")


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("synthetic", {"people": 1}),
        ("synthetic", {"images_per_person": 1}),
        ("synthetic", {"image_size": 31}),
        ("synthetic", {"seed": 2**32}),
        ("synthetic", {"path": None}),
        ("image_folder", {"held_out": {"fraction": 0}}),
        ("image_folder", {"held_out": {"fraction": 1}}),
        ("image_folder", {"held_out": {"fold": -1}}),
        ("image_folder", {"held_out": 0.25}),
        ("records", {"origin": "film"}),
    ],
)
def test_the_types_refuse_bad_parameters(kind, given):
    with pytest.raises(ValidationError):
        TypeAdapter(TRAINING_SOURCES[kind]).validate_python({"path": "x", **given})


# --- records --------------------------------------------------------------------------------------


def record_file(root, labels, *, counts=True, classes=None):
    root.mkdir(parents=True)
    with RecordWriter(root / "train.rec") as writer:
        if counts:
            writer.write(0, b"", [len(labels) + 1.0] * 2)
        for key, label in enumerate(labels, start=int(counts)):
            writer.write(key, picture(), label)
    if classes:
        (root / "property").write_text(f"{classes},112,112\n")
    return root


@pytest.mark.parametrize("missing", [(), ("train.idx",), ("property",), ("train.idx", "property")])
def test_records_are_not_copied(tmp_path, capsys, missing):
    root = record_file(tmp_path / "ms1mv3", [0, 1, 1, 2], classes=3)
    (root / "lfw.bin").write_bytes(b"a bin")
    for name in missing:
        (root / name).unlink()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.iterdir()}
    found = write(Records(str(root)), tmp_path / "out")
    assert names(tmp_path / "out") == ["manifest.json"]
    layout = "4 images, 0 identity records, record 0 counts 4 images"
    assert found == Manifest("photos", str(root), True, 4, 3, 0, layout, records_digest(root))
    assert before == {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.iterdir()
    }
    assert capsys.readouterr().out == f"{root}: {layout}, identities 0 … 2\n"
    joined, bare = (RecordFaces(str(path)) for path in (tmp_path / "out", root))
    assert joined.num_classes == bare.num_classes == 3
    assert [joined[i]["label"] for i in range(4)] == [0, 1, 1, 2]
    assert (joined[3]["inputs"] == bare[3]["inputs"]).all()


def test_a_relative_path_of_records_stays_relative(tmp_path, monkeypatch):
    """So a checkout in another folder gives the same manifest."""
    record_file(tmp_path / "here" / "faces", [0, 1])
    monkeypatch.chdir(tmp_path)
    assert write(Records("here/faces", "synthetic"), tmp_path / "out").records == "here/faces"
    assert read_manifest(tmp_path / "out").origin == "synthetic"
    assert len(RecordFaces("out")) == 2


def test_a_changed_file_has_another_digest(tmp_path):
    root = record_file(tmp_path / "a", [0, 1])
    before = write(Records(str(root)), tmp_path / "0")
    assert write(Records(str(root)), tmp_path / "1") == before
    with (root / "train.rec").open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"x")
    assert write(Records(str(root)), tmp_path / "2").digest != before.digest


def test_gaps_in_the_labels_are_printed(tmp_path, capsys):
    root = record_file(tmp_path / "a", [7, 9, 9], counts=False)
    assert write(Records(str(root)), tmp_path / "out").identities == 10
    assert capsys.readouterr().out == (
        f"{root}: 3 images, 0 identity records, no counts, identities 0 … 9, "
        "8 of them without an image\n"
    )


# --- conversion -----------------------------------------------------------------------------------

PEOPLE = ["n1", "n1", "b", "n1", "b"]
IMAGES = [picture() for _ in PEOPLE]
LABELLED = list(zip([0, 0, 1, 0, 1], IMAGES, strict=True))


def magface(root):
    for i, image in enumerate(IMAGES):
        (root / f"{i}.png").write_bytes(image)
    lines = [f"{i}.png 0 {who}\n" for i, who in enumerate(PEOPLE)] + ["gone.png 0 n1\n"]
    (root / "train.list").write_text("".join(lines))
    return MagfaceList(str(root), list="train.list")


def table(root):
    pq.write_table(pyarrow.table({"image": [*IMAGES, b"x"], "label": [*PEOPLE, "b"]}), root / "a")
    return Parquet(str(root / "a"))


def tar(root):
    with tarfile.open(root / "a.tar", "w") as file:
        for i, (who, image) in enumerate(zip([*PEOPLE, "b"], [*IMAGES, b"x"], strict=True)):
            for kind, content in (("png", image), ("cls", who.encode())):
                member = tarfile.TarInfo(f"{i}.{kind}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return WebDataset(str(root))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("make", [magface, table, tar])
def test_converted_images_keep_their_bytes(tmp_path, capsys, make, workers):
    source, out = make(tmp_path), tmp_path / "out"
    found = write(source, out, workers)
    layout = "5 images, 0 identity records, no counts"
    assert found == Manifest("photos", ".", True, 5, 2, 1, layout, records_digest(out))
    assert contents(out) == LABELLED
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == (f"{source.path}: 5 images of 2 identities; left out 1, listed in failures.csv")
    with (out / "failures.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1
    faces = RecordFaces(str(out))
    assert [faces[i]["label"] for i in range(5)] == [label for label, _ in LABELLED]


@pytest.mark.parametrize("kind", ["magface_list", "parquet", "webdataset", "image_folder"])
def test_a_source_that_is_missing_or_empty_is_named(tmp_path, kind):
    with pytest.raises(ValueError, match=str(tmp_path / "gone")):
        write(TRAINING_SOURCES[kind](str(tmp_path / "gone")), tmp_path / "out")
    (tmp_path / "empty").touch() if kind == "magface_list" else (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=str(tmp_path / "empty")):
        write(TRAINING_SOURCES[kind](str(tmp_path / "empty")), tmp_path / "out2")


def test_faces_that_are_not_square_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(96, 112))
    (tmp_path / "list").write_text("a.png 0 n1\n")
    message = r"list:1: .*a\.png: the first image has 112 × 96 px; aligned faces are square"
    with pytest.raises(SourceError, match=message):
        write(MagfaceList(str(tmp_path / "list")), tmp_path / "out")


def test_a_list_outside_the_folder_is_refused(tmp_path):
    source = magface(tmp_path)
    assert write(MagfaceList(str(tmp_path / "train.list")), tmp_path / "out").images == 5
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"list: \.\./train\.list is not in .*folder"):
        write(MagfaceList(str(tmp_path / "folder"), list="../train.list"), tmp_path / "other")
    assert source.path == str(tmp_path)


# --- synthetic ------------------------------------------------------------------------------------


def test_synthetic_faces_equal_those_of_the_generator(tmp_path):
    source = Synthetic("plugin", people=3, images_per_person=2, image_size=40, seed=5)
    found = write(source, tmp_path / "out", workers=2)
    config = SyntheticConfig(train_people=3, images_per_person=2, image_size=40)
    write_people(config, tmp_path / "old" / "train", seed=5, workers=1)
    assert names(tmp_path / "out") == sorted([*names(tmp_path / "old" / "train"), "manifest.json"])
    for path in (tmp_path / "old" / "train").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert (found.origin, found.aligned, found.images, found.identities) == (
        "synthetic", False, 6, 3,
    )  # fmt: skip


# --- image folder ---------------------------------------------------------------------------------


def photos(root, people=8, images=3, size=(112, 112), extension=".png"):
    for person in range(people):
        (root / f"p{person}").mkdir(parents=True)
        for i in range(images):
            name = f"p{person}/{i}{extension}"
            (root / name).write_bytes(picture(*size, extension))
    return root


def person_of(root):
    """Return the name of the person by a photo's bytes."""
    return {path.read_bytes(): path.parent.name for path in root.glob("*/*.*")}


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".tiff"])
def test_photos_that_are_aligned_crops_keep_their_bytes(tmp_path, extension):
    root, out = photos(tmp_path / "in", extension=extension), tmp_path / "out"
    found = write(ImageFolder(str(root), aligned=True), out)
    assert names(out) == ["failures.csv", "manifest.json", "property", "train.idx", "train.rec"]
    layout = "24 images, 0 identity records, record 0 counts 24 images"
    assert found == Manifest("photos", ".", True, 24, 8, 0, layout, records_digest(out))
    people = sorted(root.iterdir())
    expected = [
        (i, path.read_bytes()) for i, p in enumerate(people) for path in sorted(p.iterdir())
    ]
    assert contents(out) == expected
    assert len(RecordFaces(str(out))) == 24


def test_photos_of_another_size_are_marked_as_not_aligned(tmp_path):
    root = photos(tmp_path / "in", 3)
    (root / "p1" / "0.png").write_bytes(picture(200, 100))
    found = write(ImageFolder(str(root), aligned=True), tmp_path / "out")
    assert not found.aligned
    landmarks = np.load(tmp_path / "out" / "landmarks.npy")
    assert landmarks.shape == (9, 5, 2)
    np.testing.assert_allclose(landmarks[0], TEMPLATE, atol=1e-4)
    np.testing.assert_allclose(landmarks[3], TEMPLATE * (200 / 112) - [50, 0], atol=1e-3)
    with (tmp_path / "out" / "images.csv").open() as file:
        rows = [(int(row["key"]), int(row["identity"])) for row in csv.DictReader(file)]
    assert rows == [(1 + i, i // 3) for i in range(9)]


def points_of(root, name="points.csv"):
    lines = []
    for path in sorted(root.glob("*/*.png")):
        numbers = (TEMPLATE + len(lines)).ravel().tolist()
        lines.append(f"{path.relative_to(root)},{','.join(map(str, numbers))}\n")
    (root / name).write_text("".join(lines))


@pytest.mark.parametrize("workers", [1, 3])
def test_landmarks_are_stored_beside_their_photos(tmp_path, workers):
    root = photos(tmp_path / "in", 3, size=(130, 140))
    points_of(root)
    (root / "p0" / "broken.png").write_bytes(b"no picture")
    found = write(ImageFolder(str(root), landmarks="points.csv"), tmp_path / "out", workers)
    assert (found.aligned, found.images, found.left_out) == (False, 9, 1)
    landmarks = np.load(tmp_path / "out" / "landmarks.npy")
    for i in range(9):
        np.testing.assert_allclose(landmarks[i], TEMPLATE + i, rtol=1e-6)
    with (tmp_path / "out" / "failures.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["p0/broken.png"]


@pytest.mark.parametrize("name", ["../points.csv", "link.csv", "{}/points.csv"])
def test_landmarks_outside_of_the_folder_are_refused(tmp_path, name):
    """DVC would not notice a change of such a file."""
    root = photos(tmp_path / "in", 3)
    points_of(root)
    (root / "points.csv").rename(tmp_path / "points.csv")
    (root / "link.csv").symlink_to(tmp_path / "points.csv")
    with pytest.raises(ValueError, match=r"landmarks: .* is not in .*in; expected a file in it"):
        write(ImageFolder(str(root), landmarks=name.format(tmp_path)), tmp_path / "out")


def test_photos_without_landmarks_are_refused(tmp_path):
    with pytest.raises(
        ImageFolderError, match="give landmarks or a detector, or set aligned: true"
    ):
        write(ImageFolder(str(photos(tmp_path / "in", 3))), tmp_path / "out")


def test_a_source_holds_out_the_people_of_the_benchmark(tmp_path):
    root = photos(tmp_path / "in")
    known, trained = person_of(root), []
    for fold in range(2):
        out = tmp_path / str(fold)
        options = {"aligned": True, "held_out": HeldOut(0.5, fold, seed=3)}
        assert write(ImageFolder(str(root), **options), out).identities == 4
        trained.append([known[content] for _, content in contents(out)])
        held = tmp_path / f"held{fold}"
        held.mkdir()
        ImageFolderBenchmark(str(root), **options).write(held, 1)
        tested = {path.read_bytes() for path in (held / "loose_crop").iterdir()}
        jpegs = {encode_jpeg(decode_rgb(content, None, "a")) for content in known}
        mine = {encode_jpeg(decode_rgb(content, None, "a")) for _, content in contents(out)}
        assert tested == jpegs - mine and len(tested) == 12
    assert len(set(trained[0])) == len(set(trained[1])) == 4
    assert not set(trained[0]) & set(trained[1])
    # Another seed holds out other people.
    write(ImageFolder(str(root), aligned=True, held_out=HeldOut(0.5, 0, seed=0)), tmp_path / "x")
    assert {known[content] for _, content in contents(tmp_path / "x")} != set(trained[0])


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (HeldOut(0.5, 2), r"in: held_out\.fold: expected 0 … 1 \(fraction 0\.5 of 8 people\)"),
        (HeldOut(0.9), r"in: 8 people with 2 usable images or more, 1 of them for training"),
    ],
)
def test_too_many_held_out_people_are_named(tmp_path, left, message):
    source = ImageFolder(str(photos(tmp_path / "in")), aligned=True, held_out=left)
    with pytest.raises(ImageFolderError, match=message):
        write(source, tmp_path / "out")


def test_a_folder_of_one_person_reports_what_was_left_out(tmp_path):
    root = photos(tmp_path / "in", 1)
    (root / "p9").mkdir()
    (root / "p9" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ImageFolderError, match=r"needs 2; left out is .*p9/0\.png: not a picture"):
        write(ImageFolder(str(root), aligned=True), tmp_path / "out")
