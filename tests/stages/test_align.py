"""Stage align crops each photo by its own landmarks, found by key, and lists bad photos."""

import csv

import cv2
import numpy as np
import pytest

from lh2face.data.align import TEMPLATE, norm_crop
from lh2face.data.images import decode_rgb, encode_jpeg
from lh2face.data.recordio import RecordReader, RecordWriter
from lh2face.stages.align import AlignError, align_train

COUNT = 6
RNG = np.random.default_rng(0)
# Faces are at different places, so that a crop by the landmarks of another photo differs.
POINTS = np.stack([TEMPLATE + np.array([4 * i, 3 * i]) for i in range(COUNT)]).astype(np.float32)
PHOTOS = [cv2.GaussianBlur(RNG.integers(0, 256, (140, 140, 3), np.uint8), (0, 0), 4)] * COUNT
KEYS = [3, 5, 6, 8, 9, 12]


@pytest.fixture
def raw(tmp_path):
    return write_training(tmp_path / "raw")


def write_training(root, photos=None, points=POINTS):
    root.mkdir()
    photos = photos or [encode_jpeg(photo) for photo in PHOTOS]
    with RecordWriter(root / "train.rec") as writer:
        writer.write(0, b"", [float(KEYS[-1] + 1)] * 2)
        for key, photo in zip(KEYS, photos, strict=True):
            writer.write(key, photo, key % 2)
    np.save(root / "landmarks.npy", points)
    rows = "".join(f"{key},{key % 2}\n" for key in KEYS)
    (root / "images.csv").write_text("key,identity\n" + rows)
    (root / "property").write_text("2,140,140\n")
    return root


def aligned(raw, out):
    out.mkdir()
    return align_train(raw, out, 2)


def crops_of(out):
    reader = RecordReader(out / "train.rec")
    return {key: decode_rgb(reader[key][1], None, "a") for key in list(reader.keys)[1:]}


def assert_crops(out, keys):
    found = crops_of(out)
    assert list(found) == keys
    for key, crop in found.items():
        decoded = decode_rgb(encode_jpeg(PHOTOS[0]), None, "a")
        expected = norm_crop(decoded, POINTS[KEYS.index(key)])
        assert np.abs(crop.astype(int) - expected).mean() < 2


def test_each_face_is_cropped_by_its_own_landmarks(tmp_path, raw):
    aligned(raw, tmp_path / "out")
    assert_crops(tmp_path / "out", KEYS)
    assert (tmp_path / "out" / "failures.csv").read_text() == "key,reason\n"


def test_landmarks_are_stored_in_coordinates_of_the_crops(tmp_path, raw):
    """The photos' landmarks are those of the template, shifted; one has another shape."""
    points = POINTS.copy()
    points[2, 2] += [9, 0]
    np.save(raw / "landmarks.npy", points)
    aligned(raw, tmp_path / "out")
    found = np.load(tmp_path / "out" / "aligned_landmarks.npy")
    assert found.shape == (COUNT, 5, 2) and found.dtype == np.float32
    assert np.abs(np.delete(found, 2, 0) - TEMPLATE).max() < 1e-3
    assert found[2, 2, 0] - found[2, [0, 1, 3, 4], 0].mean() == pytest.approx(9, abs=1)


def test_landmarks_are_found_by_key_not_by_position(tmp_path, raw):
    order = [4, 0, 5, 2, 1, 3]
    np.save(raw / "landmarks.npy", POINTS[order])
    lines = [f"{KEYS[i]},{KEYS[i] % 2}" for i in order]
    (raw / "images.csv").write_text("\n".join(["key,identity", *lines]))
    aligned(raw, tmp_path / "out")
    assert_crops(tmp_path / "out", KEYS)


@pytest.mark.parametrize("line", [1, 3, COUNT])
def test_an_index_without_a_line_is_refused(tmp_path, raw, line):
    index = raw / "train.idx"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(lines[:line] + lines[line + 1 :]))
    # The reader may be the one to notice.
    with pytest.raises(ValueError, match=r"train\.(idx|rec)"):
        aligned(raw, tmp_path / "out")


def test_a_table_without_a_line_is_refused(tmp_path, raw):
    lines = (raw / "images.csv").read_text().splitlines(keepends=True)
    (raw / "images.csv").write_text("".join(lines[:-1]))
    with pytest.raises(AlignError, match=r"landmarks\.npy: expected floats \(5, 5, 2\)"):
        aligned(raw, tmp_path / "out")
    np.save(raw / "landmarks.npy", POINTS[:-1])
    with pytest.raises(AlignError, match=r"train\.idx: 6 images, images\.csv has 5.* is 12"):
        aligned(raw, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("landmarks.npy", b"", r"landmarks\.npy: not a whole \.npy file"),
        ("landmarks.npy", b"no array", r"landmarks\.npy: not a whole \.npy file"),
        ("landmarks.npy", None, r"landmarks\.npy: not a whole \.npy file"),
        (
            "images.csv",
            b"name\na\n",
            r"images\.csv:1: expected each column once in the header: key",
        ),
        ("images.csv", b"key\nx\n", r"images\.csv:2: .*'x'"),
        ("images.csv", b"key\n1\n\xff\n", r"images\.csv:\d: not UTF-8"),
        ("images.csv", b"key\n12\n" + b"2\n" * 5, r"images\.csv: names key 2 twice"),
        ("images.csv", b"key\n", r"images\.csv: names no image"),
    ],
)
def test_damaged_files_are_named(tmp_path, raw, name, content, message):
    if content is None:  # truncated
        content = (raw / name).read_bytes()[:-8]
    (raw / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        aligned(raw, tmp_path / "out")


def test_landmarks_of_another_shape_are_named(tmp_path, raw):
    np.save(raw / "landmarks.npy", POINTS.astype(int))
    with pytest.raises(AlignError, match=r"expected floats .* found int64 \(6, 5, 2\)"):
        aligned(raw, tmp_path / "out")


def test_bad_training_photos_are_listed(tmp_path):
    photos = [encode_jpeg(photo) for photo in PHOTOS]
    photos[0], photos[1] = photos[0][:900], b""
    points = POINTS.copy()
    points[2], points[3], points[4] = np.nan, -1, points[4] + 9000
    raw = write_training(tmp_path / "raw", photos, points)
    aligned(raw, tmp_path / "out")
    assert_crops(tmp_path / "out", [12])
    assert np.abs(np.load(tmp_path / "out" / "aligned_landmarks.npy") - TEMPLATE).max() < 1e-3
    with (tmp_path / "out" / "failures.csv").open() as file:
        rows = {int(row["key"]): row["reason"] for row in csv.DictReader(file)}
    assert list(rows) == KEYS[:5]
    for key, reason in zip(
        KEYS, ("cut short", "empty", "finite", "(-1, -1)", "outside"), strict=False
    ):
        assert reason in rows[key]


def test_a_source_without_usable_photos_is_refused(tmp_path):
    raw = write_training(tmp_path / "raw", [b"no picture"] * COUNT)
    with pytest.raises(AlignError, match=r"none of its 6 images can be used; key 3: not a picture"):
        aligned(raw, tmp_path / "out")
