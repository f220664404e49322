import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lh2face.data.recordio import (
    MAGIC_BYTES,
    RecordError,
    RecordReader,
    RecordWriter,
    identity,
    image_keys,
)


def write(path, images, labels=None):
    with RecordWriter(path) as writer:
        for key, image in enumerate(images):
            writer.write(key, image, labels[key] if labels else key)
    return path


def test_bytes_of_a_record(tmp_path):
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
    assert reader.keys == [7, 90] and reader[90][1] == b"one"


def test_identities_above_float32_are_exact(tmp_path):
    labels = [0, 2**24 - 1, 2**24 + 1, 2**31 + 7]
    reader = RecordReader(write(tmp_path / "a.rec", [b"x"] * 4, labels))
    assert [identity(reader[k][0]) for k in range(4)] == labels


@pytest.mark.parametrize(("first", "keys"), [([3.0, 5.0], [1, 2]), (8, [0, 1, 2])])
def test_both_kinds_of_record_zero(tmp_path, first, keys):
    reader = RecordReader(write(tmp_path / "a.rec", [b"x"] * 3, [first, 1, 2]))
    assert image_keys(reader) == keys


def test_reader_can_be_sent_to_another_process(tmp_path):
    reader = pickle.loads(pickle.dumps(RecordReader(write(tmp_path / "a.rec", [b"x"]))))
    assert reader[0][1] == b"x"


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


@pytest.mark.parametrize("text", ["0\t999\n", "0 0\n", "a\tb\n", "0\t0\n0\t0\n", "0\t-4\n"])
def test_bad_index_is_named(tmp_path, text):
    path = write(tmp_path / "a.rec", [b"image"])
    path.with_suffix(".idx").write_text(text)
    with pytest.raises(RecordError, match="idx"):
        RecordReader(path)


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 200), value=st.integers(0, 255))
def test_flipped_bytes_give_an_error_or_a_record(tmp_path_factory, position, value):
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


def test_labels_of_a_list(tmp_path):
    header, _ = RecordReader(write(tmp_path / "a.rec", [b"x"], [[1.0, 2.5]]))[0]
    assert header.flag == 2
    np.testing.assert_array_equal(header.label, [1.0, 2.5])
