"""Folders with train.rec are summarised and hashed in one pass; bad ones are named."""

import hashlib
import struct

import cv2
import numpy as np
import pytest

from lh2face.data import recordio
from lh2face.data.recordio import RecordError, RecordReader, RecordWriter
from lh2face.data.records import inspect_records, open_records, records_digest

RNG = np.random.default_rng(0)


def picture(height=16, width=16):
    image = RNG.integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def folder(root, labels, *, images=None, size="16,16", classes=None, counts=False, index=True):
    """Write records with these labels; with ``property`` if ``classes`` is given."""
    root.mkdir(parents=True, exist_ok=True)
    with RecordWriter(root / "train.rec") as writer:
        if counts:
            writer.write(0, b"", [len(labels) + 1.0] * 2)
        for key, label in enumerate(labels, start=int(counts)):
            writer.write(key, images[key - counts] if images else picture(), label)
    if not index:
        (root / "train.idx").unlink()
    if classes is not None:
        (root / "property").write_text(f"{classes},{size}\n")
    return root


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("block", [1 << 12, 1 << 24])
def test_the_summary_equals_what_was_written(tmp_path, monkeypatch, index, counts, block):
    monkeypatch.setattr(recordio, "READ_BYTES", block)
    labels = RNG.integers(0, 30, 200).tolist()
    root = folder(tmp_path, labels, counts=counts, index=index)
    found = inspect_records(root)
    assert len(found.layout.images) == 200
    assert found.classes == max(labels) + 1
    assert found.without_images == max(labels) + 1 - len(set(labels))
    assert found.digest == records_digest(root)


@pytest.mark.parametrize("shuffled", [True, False])
def test_blocks_cover_the_file_and_every_record_begins_in_one(tmp_path, monkeypatch, shuffled):
    monkeypatch.setattr(recordio, "READ_BYTES", 1 << 12)
    root = folder(tmp_path, list(range(60)))
    if shuffled:
        lines = (root / "train.idx").read_text().split("\n")[:-1]
        offsets = RNG.permutation([line.split("\t")[1] for line in lines])
        (root / "train.idx").write_text("".join(f"{k}\t{o}\n" for k, o in enumerate(offsets)))
    reader = RecordReader(root / "train.rec")
    keys = reader.keys[::2]
    content, rows, start = b"", [], 0
    for block, found in reader.blocks(keys):
        begins = reader._offsets[keys[found]]
        assert ((begins >= start) & (begins < start + len(block))).all()
        content, start = content + bytes(block), start + len(block)
        rows += found.tolist()
    assert content == (root / "train.rec").read_bytes()
    assert sorted(rows) == list(range(30))


def test_the_digest_is_made_of_sha256_of_each_file(tmp_path):
    """It equals the one computed with sha256sum; other files of the folder do not count."""
    root = folder(tmp_path, [0, 1], classes=2)
    before = records_digest(root)
    lines = [
        f'"{name}": "{hashlib.sha256((root / name).read_bytes()).hexdigest()}"'
        for name in ("property", "train.idx", "train.rec")
    ]
    assert before == hashlib.sha256(f"{{{', '.join(lines)}}}".encode()).hexdigest()
    (root / "lfw.bin").write_bytes(b"x")
    assert records_digest(root) == before
    for name in ("property", "train.idx", "train.rec"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content + b"\n")
        assert records_digest(root) != before, name
        (root / name).write_bytes(content)
    (root / "property").unlink()
    assert records_digest(root) != before


@pytest.mark.parametrize(
    ("labels", "classes", "text"),
    [
        ([0, 1, 1], None, "3 images, 0 identity records, no counts, identities 0 … 1"),
        ([7, 8, 9], None, "identities 0 … 9, 7 of them without an image"),
        ([0, 4], 5, "identities 0 … 4, 3 of them without an image"),
        ([0, 1], 5, "identities 0 … 4, 3 of them without an image"),
    ],
)
def test_gaps_and_an_offset_of_labels_are_reported(tmp_path, labels, classes, text):
    assert str(inspect_records(folder(tmp_path, labels, classes=classes))).endswith(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: r / "gone", r"gone: no such folder; expected a folder with train\.rec"),
        (lambda r: folder(r, [0]) / "train.rec", r"train\.rec: a file; give the folder that holds"),
        (lambda r: r, r"there is no train\.rec in it"),
        (lambda r: folder(r, []), r"train\.rec: no images in it"),
        (lambda r: folder(r, [], counts=True), r"train\.rec: no images in it"),
        (lambda r: folder(r, [0, 3, 1], classes=3), "key 1: label 3 is none of the 3 classes"),
        (lambda r: folder(r, [0, 1], classes="two"), r"property: expected classes,height,width"),
        (lambda r: folder(r, [0, [0.5]]), r"key 1: label 0\.5: expected a whole number"),
        (lambda r: folder(r, [0, [-1.0]]), "key 1: label -1: expected a whole number"),
        (lambda r: folder(r, [0, [float("nan")]]), "key 1: label nan: expected a whole number"),
        (lambda r: folder(r, [0, 10**9]), "key 1: label 1000000000 is none of the 1000000000 cl"),
        (
            lambda r: folder(r, [0, 1], classes=2, size="112,112"),
            "key 0: an image of 16 × 16 px; property has 112 × 112 px",
        ),
        (
            lambda r: folder(r, [0], images=[picture(16, 20)]),
            "key 0: an image of 20 × 16 px; aligned faces are square",
        ),
        (lambda r: folder(r, [0], images=[b"no picture"]), "key 0: not a picture"),
    ],
)
def test_bad_folders_are_named(tmp_path, make, message):
    with pytest.raises(ValueError, match=message) as error:
        inspect_records(make(tmp_path))
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_truncated_file_is_named(tmp_path):
    root = folder(tmp_path, [0, 1, 2])
    raw = (root / "train.rec").read_bytes()
    (root / "train.rec").write_bytes(raw[:-40])
    (root / "train.idx").unlink()
    with pytest.raises(RecordError, match="the file ends inside a record"):
        inspect_records(root)


def test_the_first_record_is_always_checked(tmp_path):
    """Only reading it shows that a record has no header."""
    tmp_path.joinpath("train.rec").write_bytes(struct.pack("<II", recordio.MAGIC, 4) + b"abcd")
    with pytest.raises(RecordError, match="4 bytes, a header needs 24"):
        open_records(tmp_path)
