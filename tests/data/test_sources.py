"""Each format written by its own library, read back, and turned into training records."""

import io
import sys
import tarfile

import cv2
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet as pq

from lh2face.cli import main
from lh2face.data.datasets import RecordFaces
from lh2face.data.sources import SOURCES, SourceError

RNG = np.random.default_rng(0)
PEOPLE = ["n001", "n001", "b 7", "n001", "b 7"]
IMAGES = [
    cv2.imencode(".png", RNG.integers(0, 256, (20, 20, 3), np.uint8))[1].tobytes() for _ in PEOPLE
]
FACES = list(zip(PEOPLE, IMAGES, strict=True))


def write_image_folder(root):
    for i, (person, image) in enumerate(FACES):
        (root / person).mkdir(exist_ok=True)
        (root / person / f"{i}.png").write_bytes(image)
    return root


def write_magface_list(root):
    lines = []
    for i, (person, image) in enumerate(FACES):
        (root / f"{i}.png").write_bytes(image)
        lines.append(f"{i}.png 0 {person.replace(' ', '')}")
    (root / "train.list").write_text("\n".join(lines) + "\n")
    return root / "train.list"


def write_parquet(root, nested=True):
    images = [{"bytes": image, "path": None} for image in IMAGES] if nested else IMAGES
    half = len(images) // 2
    for name, part in (("0.parquet", slice(half)), ("1.parquet", slice(half, None))):
        table = pyarrow.table({"image": images[part], "label": PEOPLE[part]})
        pq.write_table(table, root / name)
    return root


def write_webdataset(root):
    import webdataset

    with webdataset.ShardWriter(str(root / "%d.tar"), maxcount=3, verbose=0) as shards:
        for i, (person, image) in enumerate(FACES):
            shards.write({"__key__": f"{i:04}", "png": image, "cls": person.encode()})
    return root


WRITERS = {
    "image_folder": write_image_folder,
    "magface_list": write_magface_list,
    "parquet": write_parquet,
    "webdataset": write_webdataset,
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_what_was_written(tmp_path, source):
    found = list(SOURCES[source](WRITERS[source](tmp_path)))
    expected = [(person, image) for person, image in FACES]
    if source == "magface_list":
        expected = [(person.replace(" ", ""), image) for person, image in FACES]
    pairs = [(face.identity, face.encoded) for face in found]
    assert sorted(pairs) == sorted(expected)
    if source != "image_folder":
        assert pairs == expected


def test_parquet_of_plain_bytes(tmp_path):
    found = list(SOURCES["parquet"](write_parquet(tmp_path, nested=False)))
    assert [face.encoded for face in found] == IMAGES


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lh2face", "records", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_records_can_be_trained_on(monkeypatch, tmp_path):
    (tmp_path / "tar").mkdir()
    shards = write_webdataset(tmp_path / "tar")
    assert not run(monkeypatch, "webdataset", shards, tmp_path / "out")
    faces = RecordFaces(str(tmp_path / "out"), image_size=20, mirror=0.0)
    assert faces.num_classes == 2
    assert [faces[i]["label"] for i in range(5)] == [0, 0, 1, 0, 1]
    assert (tmp_path / "out" / "identities.csv").read_text() == "identity,class\nn001,0\nb 7,1\n"


def test_a_bad_image_is_left_out_and_listed(monkeypatch, tmp_path):
    root = write_image_folder(tmp_path)
    (root / "n001" / "bad.png").write_bytes(b"no image")
    (root / "n001" / "empty.png").touch()
    assert not run(monkeypatch, "image_folder", root, tmp_path / "out")
    assert len(RecordFaces(str(tmp_path / "out"))) == 5
    listed = (tmp_path / "out" / "failures.csv").read_text()
    assert "bad.png" in listed and "empty.png" in listed


def tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("source", "make", "message"),
    [
        ("magface_list", lambda r: _text(r, "a.png 0\n"), r"list:1: expected path, x and identity"),
        ("magface_list", lambda r: _text(r, "a.png 0 1\n"), r"list:1: .*a\.png: No such file"),
        ("parquet", lambda r: _text(r, "junk"), "list: "),
        ("parquet", lambda r: r, r"there is no \*\.parquet"),
        ("parquet", lambda r: _table(r, {"image": [b"x"], "who": [1]}), "expected a column out of"),
        (
            "parquet",
            lambda r: _table(r, {"image": [None], "label": [1]}, pyarrow.binary()),
            "row 0",
        ),
        ("parquet", lambda r: _table(r, {"image": [{"path": "x"}], "label": [1]}), "without bytes"),
        (
            "webdataset",
            lambda r: tar(r / "a.tar", {"1.png": b"x"}),
            r"a\.tar: 1: expected an image",
        ),
        ("webdataset", lambda r: _text(r, "junk"), "list: "),
        ("webdataset", lambda r: r, r"there is no \*\.tar"),
        ("image_folder", lambda r: r, "no image in it can be used"),
    ],
)
def test_bad_sources_are_named(tmp_path, monkeypatch, capsys, source, make, message):
    (tmp_path / "in").mkdir()
    assert run(monkeypatch, source, make(tmp_path / "in"), tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    with pytest.raises(SourceError, match=message):
        raise SourceError(error)
    assert not (tmp_path / "out").exists()


def _text(root, text):
    (root / "list").write_text(text)
    return root / "list"


def _table(root, columns, image_type=None):
    table = pyarrow.table(columns)
    if image_type is not None:
        table = table.set_column(0, "image", table["image"].cast(image_type))
    pq.write_table(table, root / "a.parquet")
    return root


def test_a_tar_cannot_name_a_command(tmp_path):
    victim = tmp_path / "victim"
    name = f"pipe:touch {victim}"
    with pytest.raises(SourceError):
        list(SOURCES["webdataset"](tmp_path / name))
    assert not victim.exists()
