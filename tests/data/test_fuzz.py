"""Readers of untrusted files on damaged ones: a clear error or what was written, nothing else.

A run of 100 000 inputs for each:  LH2FACE_FUZZ=100000 python -m pytest tests/data/test_fuzz.py
"""

import os
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lh2face.data.recordio import RecordError, RecordReader, RecordWriter
from lh2face.data.verification_bin import BinError, read_bin, write_bin

INPUTS = int(os.environ.get("LH2FACE_FUZZ", "2000"))
fuzz = settings(
    max_examples=INPUTS, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
pytestmark = pytest.mark.timeout(max(300, INPUTS // 50))
IMAGES = [b"first image", b"\x0a\x23\xd7\xce" * 3, b"", b"a third one" * 5]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat"]),
        st.integers(0, 400),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def damaged(raw: bytes, edits) -> bytes:
    for kind, place, content in edits:
        at = place % (len(raw) + 1)
        match kind:
            case "flip":
                raw = raw[:at] + content + raw[at + len(content) :]
            case "cut":
                raw = raw[:at]
            case "insert":
                raw = raw[:at] + content + raw[at:]
            case "repeat":
                raw = raw[:at] + raw[max(0, at - 8 * len(content)) :]
    return raw


@pytest.fixture(scope="module")
def record_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "a.rec"
    with RecordWriter(path) as writer:
        for key, image in enumerate(IMAGES):
            writer.write(key, image, [1.0, 2.0] if key == 3 else key)
    return path, path.read_bytes(), path.with_suffix(".idx").read_bytes()


def lengths(path):
    """Payload bytes of each record by key; a flag tells how many of them are labels."""
    reader = RecordReader(path)
    found = {}
    for key in reader.keys:
        header, image = reader[key]
        found[key] = 24 + 4 * header.flag + len(image)
    return found


@fuzz
@given(edits=EDITS, indexed=st.booleans())
def test_damaged_records(record_file, edits, indexed):
    path, raw, index = record_file
    path.write_bytes(damaged(raw, edits))
    path.with_suffix(".idx").write_bytes(index)
    if not indexed:
        path.with_suffix(".idx").unlink()
    try:
        found = lengths(path)
    except RecordError as error:
        assert str(path.with_suffix("")) in str(error)
        return
    # What can be read are whole records: with the index, those that were written, but for the
    # zeros up to a multiple of four.
    if indexed and all(kind == "flip" for kind, *_ in edits):
        path.write_bytes(raw)
        written = lengths(path)
        assert found.keys() == written.keys()
        assert all(-found[key] // 4 == -written[key] // 4 for key in found)


@fuzz
@given(edits=EDITS)
def test_damaged_indices(record_file, edits):
    path, raw, index = record_file
    path.write_bytes(raw)
    path.with_suffix(".idx").write_bytes(damaged(index, edits))
    try:
        reader = RecordReader(path)
        images = [reader[key][1] for key in reader.keys]
    except RecordError as error:
        assert str(path.with_suffix("")) in str(error)
        return
    assert set(images) <= set(IMAGES)


@pytest.fixture(scope="module")
def bins(tmp_path_factory):
    """A bin of bytes and one of numpy arrays, as old tools wrote it."""
    path = tmp_path_factory.mktemp("fuzz") / "a.bin"
    write_bin(path, [b"1", b"22", b"333", b"4444"], [True, False])
    arrays = [np.frombuffer(b"abc", np.uint8)] * 4
    old = pickle.dumps((arrays, [np.bool_(True), False]), protocol=2)
    return path, [path.read_bytes(), old.replace(b"numpy._core", b"numpy.core")]


@fuzz
@given(edits=EDITS, which=st.integers(0, 1))
def test_damaged_bins(bins, edits, which):
    path, contents = bins
    path.write_bytes(damaged(contents[which], edits))
    try:
        images, same = read_bin(path)
    except BinError as error:
        assert str(path) in str(error)
        return
    assert len(images) == 2 * len(same) and same.dtype == bool
    assert all(isinstance(image, bytes) for image in images)
