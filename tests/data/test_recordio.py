import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lh2face.data import recordio
from lh2face.data.recordio import (
    HEADER,
    MAGIC,
    MAGIC_BYTES,
    PART,
    RecordError,
    RecordReader,
    RecordWriter,
    identity,
    image_keys,
    record_layout,
)


def write(path, images, labels=None):
    with RecordWriter(path) as writer:
        for key, image in enumerate(images):
            writer.write(key, image, labels[key] if labels else key)
    return path


def test_a_record_has_the_bytes_of_the_format(tmp_path):
    path = write(tmp_path / "a.rec", [b"jpeg!"])
    payload = struct.pack("<IfQQ", 0, 0.0, 0, 0) + b"jpeg!"
    expected = struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)
    assert path.read_bytes() == expected
    assert path.with_suffix(".idx").read_text() == "0\t0\n"


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.binary(max_size=9).map(lambda b: b + bytes(-len(b) % 4)), max_size=4))
def test_magic_inside_an_image_survives(tmp_path_factory, parts):
    image = MAGIC_BYTES.join(parts)
    path = write(tmp_path_factory.mktemp("m") / "a.rec", [image, b"next"])
    reader = RecordReader(path)
    assert [reader[0][1], reader[1][1]] == [image, b"next"]


def test_missing_index_is_rebuilt(tmp_path):
    path = write(tmp_path / "a.rec", [b"one", b"", MAGIC_BYTES * 3])
    path.with_suffix(".idx").unlink()
    assert [RecordReader(path)[k][1] for k in range(3)] == [b"one", b"", MAGIC_BYTES * 3]


def test_index_in_any_order_and_sparse_keys(tmp_path):
    path = write(tmp_path / "a.rec", [b"zero", b"one"])
    index = path.with_suffix(".idx")
    zero, one = (line.split("\t")[1] for line in index.read_text().splitlines())
    index.write_text(f"90\t{one}\n7\t{zero}\n")
    reader = RecordReader(path)
    assert reader.keys.tolist() == [7, 90] and reader[90][1] == b"one"
    for key in (-1, 0, 8, 91):
        with pytest.raises(RecordError, match=f"no record with key {key}"):
            reader[key]


def test_identities_above_float32_are_exact(tmp_path):
    labels = [0, 2**24 - 1, 2**24 + 1, 2**31 + 7]
    reader = RecordReader(write(tmp_path / "a.rec", [b"x"] * 4, labels))
    assert [identity(reader[k][0]) for k in range(4)] == labels


def test_id2_is_the_identity_only_where_float32_is_not_exact(tmp_path):
    """Other writers use id2 for other values."""
    path = tmp_path / "a.rec"
    payloads = [HEADER.pack(0, label, 0, 7) + b"x" for label in (3.0, 2.0**24, 2.0**24 - 1)]
    payloads.append(HEADER.pack(0, 2.0**25, 0, 0) + b"x")
    content = [PART.pack(MAGIC, len(raw)) + raw + bytes(-len(raw) % 4) for raw in payloads]
    path.write_bytes(b"".join(content))
    reader = RecordReader(path)
    expected = [3, 7, 2**24 - 1, 2**25]
    assert [identity(reader[key][0]) for key in reader.keys] == expected
    assert reader.identities(reader.keys).tolist() == expected


def test_an_identity_may_be_a_numpy_integer(tmp_path):
    """The keys of a reader are NumPy numbers, and identities computed from them are too."""
    reader = RecordReader(write(tmp_path / "a.rec", [b"x"], [np.int64(2**24 + 1)]))
    assert identity(reader[0][0]) == 2**24 + 1


@pytest.mark.parametrize("label", [float("nan"), -1.0, 0.5, float("inf"), [float("nan"), 1.0]])
def test_labels_that_are_no_whole_number_are_named(tmp_path, label):
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(4, b"x", [3.0, 0.0])
        writer.write(5, b"x", label if isinstance(label, list) else [label])
    reader = RecordReader(tmp_path / "a.rec")
    with pytest.raises(RecordError, match=r"a\.rec: key 5: label .*: expected a whole number"):
        reader.identities(reader.keys)
    with pytest.raises(RecordError, match="here: label"):
        identity(reader[5][0], "here")


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_identities_are_read_from_records_of_any_writer(tmp_path_factory, data):
    """The identity may be the label, the first of several, or in id2; records may be in parts."""
    label = st.integers(0, 2**40) | st.lists(st.integers(0, 2**20).map(float), min_size=1)
    labels = data.draw(st.lists(label, min_size=1, max_size=6))
    image = data.draw(st.sampled_from([b"", b"x", MAGIC_BYTES * 3]))
    reader = RecordReader(
        write(tmp_path_factory.mktemp("i") / "a.rec", [image] * len(labels), labels)
    )
    keys = reader.keys[:: data.draw(st.sampled_from([1, 2]))]
    expected = [x if isinstance(x, int) else int(x[0]) for x in labels]
    assert reader.identities(keys).tolist() == [expected[key] for key in keys]


def insightface(path, images, people, counts, keys=None, lost=()):
    """Write a file as insightface does, with ``counts`` in record 0; the index lacks ``lost``."""
    with RecordWriter(path) as writer:
        writer.write(0, b"", counts)
        for key in range(1, images + 1) if keys is None else keys:
            writer.write(key, b"x%d" % key, 0)
        for key in range(images + 1, images + 1 + people):
            writer.write(key, b"", [1.0, 2.0])
    index = path.with_suffix(".idx")
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(x for x in lines if int(x.split("\t")[0]) not in lost))
    return RecordReader(path)


@pytest.mark.parametrize("people", [0, 2])
def test_record_0_of_insightface_counts_the_images(tmp_path, people):
    found = record_layout(insightface(tmp_path / "a.rec", 4, people, [5.0, 5.0 + people]))
    assert found.images.tolist() == [1, 2, 3, 4] and found.counted == 4
    assert found.identities.tolist() == [5, 6][:people]
    assert str(found) == f"4 images, {people} identity records, record 0 counts 4 images"


@pytest.mark.parametrize("images", [2**24 - 2, 2**24 - 1, 2**24, 18_322_621, 42_474_557, 2**26 + 3])
@pytest.mark.parametrize("people", [1, 2])
def test_counts_that_float32_rounds_are_recovered(tmp_path, images, people):
    """WebFace42M has 42 474 557 images: float32(images + 1) is 42 474 560."""
    keys = [1, 2, *range(images - 6, images + 1)]
    counts = [float(images + 1), float(images + 1 + people)]
    found = record_layout(insightface(tmp_path / "a.rec", images, people, counts, keys))
    assert found.images.tolist() == keys and found.counted == images
    assert found.identities.tolist() == list(range(images + 1, images + 1 + people))


@pytest.mark.parametrize("labels", [8, 0, [0.0, 1.0], [3.0, 5.0], [2.0], [1.0, 2.0, 3.0]])
def test_a_record_0_with_an_image_is_an_image(tmp_path, labels):
    """im2rec numbers images from key 0, and writes one or several labels with each."""
    found = record_layout(RecordReader(write(tmp_path / "a.rec", [b"x"] * 3, [labels, 1, 2])))
    assert found.images.tolist() == [0, 1, 2] and found.counted is None
    assert not len(found.identities)


@pytest.mark.parametrize("counts", [[3.0, 2.0], [0.0, 2.0], [2.5, 4.0], [2.0], [float("nan")] * 2,
                                    [float("inf")] * 2, [3e30, 3e30], [1.0, 2.0, 3.0]])  # fmt: skip
def test_invalid_counts_are_named(tmp_path, counts):
    reader = insightface(tmp_path / "a.rec", 4, 0, counts)
    with pytest.raises(RecordError, match=r"a\.rec: record 0 has no image.*expected \(a, b\)"):
        record_layout(reader)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([4.0, 6.0], "counts 3 images, but key 4 is no identity record"),
        ([6.0, 7.0], "counts 5 images, but key 5 is not an image"),
    ],
)
def test_counts_that_the_records_contradict_are_named(tmp_path, counts, message):
    with pytest.raises(RecordError, match=message):
        record_layout(insightface(tmp_path / "a.rec", 4, 2, counts))


@pytest.mark.parametrize("lost", [[1], [2], [4], [2, 3], [5], [6], [5, 6], [4, 5], range(1, 5)])
def test_an_index_that_lacks_lines_is_named(tmp_path, lost):
    reader = insightface(tmp_path / "a.rec", 4, 2, [5.0, 7.0], lost=lost)
    images = len({1, 2, 3, 4} - set(lost))
    with pytest.raises(
        RecordError, match=rf"a\.idx: it has {images} images.* 0 counts 4 .* no line for the record"
    ):
        record_layout(reader)


def test_an_index_without_record_0_is_named(tmp_path):
    with pytest.raises(RecordError, match="key 6 is an identity record, but no record 0"):
        record_layout(insightface(tmp_path / "a.rec", 4, 2, [5.0, 7.0], lost=[0]))


def test_keys_that_a_writer_left_out_are_allowed(tmp_path):
    """Stage align leaves out images that it cannot decode."""
    found = record_layout(insightface(tmp_path / "a.rec", 4, 2, [5.0, 7.0], keys=[1, 3, 4]))
    assert found.images.tolist() == [1, 3, 4] and found.counted == 4


def test_image_keys_are_those_of_the_layout(tmp_path):
    assert image_keys(insightface(tmp_path / "a.rec", 4, 2, [5.0, 7.0])).tolist() == [1, 2, 3, 4]
    (tmp_path / "b.rec").touch()
    assert not len(image_keys(RecordReader(tmp_path / "b.rec")))


def test_a_reader_can_be_pickled(tmp_path):
    path = write(tmp_path / "a.rec", [b"x"])
    sent = pickle.dumps(RecordReader(path))
    # The index travels with the reader and is not read again.
    path.with_suffix(".idx").unlink()
    reader = pickle.loads(sent)
    assert reader[0][1] == b"x" and reader.keys.tolist() == [0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: b"\0" + raw[1:], "magic"),
        (lambda raw: raw[:20], "ends inside a record"),
        (lambda raw: raw[:4] + struct.pack("<I", 3 << 29 | 4) + raw[8:], "out of place"),
        (lambda raw: raw[:8] + struct.pack("<I", 99) + raw[12:], "labels do not fit"),
    ],
)
def test_corrupt_records_are_named(tmp_path, damage, message):
    path = write(tmp_path / "a.rec", [b"image"])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordError, match=message) as error:
        RecordReader(path)[0]
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t999\n", r"idx: key 0: offset 999 is outside"),
        ("0\t2\n", r"idx: key 0: offset 2 is outside"),
        ("5\t0\n6\t-4\n", r"idx:2: expected key<TAB>offset, found '6\\t-4'"),
        ("0 0\n", r"idx:1: .* found '0 0'"),
        ("a\tb\n", r"idx:1: "),
        ("0\t0\n1\n2\t0\t3\n", r"idx:2: .* found '1'"),
        ("0\t0\n1\t0\t2\n3\n", r"idx:2: "),
        ("0\t0\n1\t\n", r"idx:2: "),
        ("0\t0\n\n\n1\tx\n", r"idx:4: "),
        ("0\t0\n1_0\t0\n", r"idx:2: "),
        ("0\t0\n" + "9" * 19 + "\t0\n", r"idx:2: "),
        ("0\t0\n" + "x" * 5000, r"idx:2: .{80,120}$"),
        ("0\t0\n٣\t0\n", r"idx:2: "),
        ("0\t0\n1\t0\n0\t0\n", r"idx: key 0 occurs twice, for offsets 0 and 0"),
    ],
)
def test_bad_index_is_named(tmp_path, text, message):
    path = write(tmp_path / "a.rec", [b"image"])
    path.with_suffix(".idx").write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=message) as error:
        RecordReader(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.removesuffix(b"\n"),
        lambda raw: raw + b"\n\n",
        lambda raw: raw.replace(b"\n", b"\r\n"),
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.replace(b"\n", b"\n\n"),
        lambda raw: b"".join(sorted(raw.splitlines(keepends=True), reverse=True)),
    ],
)
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_an_index_of_any_order_and_line_ends_is_read(tmp_path, change, block, monkeypatch):
    monkeypatch.setattr(recordio, "BLOCK", block)
    path = write(tmp_path / "a.rec", [b"%d" % i for i in range(30)])
    index = path.with_suffix(".idx")
    index.write_bytes(change(index.read_bytes()))
    reader = RecordReader(path)
    assert reader.keys.tolist() == list(range(30)) and reader.keys.dtype == np.int64
    assert [reader[key][1] for key in range(30)] == [b"%d" % i for i in range(30)]


def test_an_empty_index_has_no_records(tmp_path):
    path = write(tmp_path / "a.rec", [b"image"])
    path.with_suffix(".idx").write_text("")
    assert not len(RecordReader(path))


def test_paths_that_are_no_files_are_named(tmp_path):
    path = write(tmp_path / "a.rec", [b"image"])
    path.with_suffix(".idx").unlink()
    os.mkfifo(path.with_suffix(".idx"))
    with pytest.raises(RecordError, match=r"a\.idx: not a file"):
        RecordReader(path)
    with pytest.raises(RecordError, match="not a file"):
        RecordReader(tmp_path)
    # A folder one level too high, and a file instead of a folder.
    for folder in (tmp_path / "absent", path):
        with pytest.raises(FileNotFoundError, match=r"train\.rec: no such file; expected a folder"):
            RecordReader(folder / "train.rec")


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 200), value=st.integers(0, 255))
def test_changed_bytes_give_an_error_or_a_record(tmp_path_factory, position, value):
    path = write(tmp_path_factory.mktemp("f") / "a.rec", [b"first image", b"second", b"third one"])
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] = value
    path.write_bytes(raw)
    path.with_suffix(".idx").unlink()
    try:
        reader = RecordReader(path)
        records = [reader[key] for key in reader.keys]
    except RecordError:
        return
    assert all(isinstance(image, bytes) for _, image in records)


def test_a_list_of_labels_is_written_and_read(tmp_path):
    header, _ = RecordReader(write(tmp_path / "a.rec", [b"x"], [[1.0, 2.5]]))[0]
    assert header.flag == 2
    np.testing.assert_array_equal(header.label, [1.0, 2.5])


def test_a_label_that_no_int64_holds_is_named(tmp_path):
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(0, b"x", (1 << 63) - 1)
        writer.write(1, b"x", 1 << 63)
    reader = RecordReader(tmp_path / "a.rec")
    assert reader.identities(reader.keys[:1]).tolist() == [(1 << 63) - 1]
    with pytest.raises(RecordError, match=r"key 1: label 9223372036854775808: expected"):
        reader.identities(reader.keys)
