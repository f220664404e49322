"""Bins of every known writer are read; damaged and malicious ones are refused and run nothing."""

import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lh2face.data.verification_bin import BinError, read_bin, write_bin

IMAGES = [b"\xff\xd8one", b"'two'\n\\", bytes(range(256)) * 5, b"4" * 70_000]
SAME = [True, False]


def written(folder, content: bytes):
    path = folder / "a.bin"
    path.write_bytes(content)
    return path


def test_bins_of_every_image_type_and_protocol_are_read(tmp_path):
    write_bin(tmp_path / "a.bin", IMAGES, SAME)
    images, same = read_bin(tmp_path / "a.bin")
    assert images == IMAGES and same.tolist() == SAME and same.dtype == bool


ARRAYS = [np.frombuffer(image, np.uint8) for image in IMAGES]
KINDS = {
    "bytes": (IMAGES, SAME),
    "tuples": (tuple(IMAGES), tuple(SAME)),
    "a list of two": [IMAGES, SAME],
    "bytearrays": ([bytearray(image) for image in IMAGES], SAME),
    "arrays": (ARRAYS, SAME),
    "arrays of their own memory": ([array.copy() for array in ARRAYS], SAME),
    "columns, as OpenCV encoded": ([array[:, None] for array in ARRAYS], SAME),
    "one array of objects": (np.array(IMAGES, object), SAME),
    "numpy flags": (IMAGES, [np.bool_(True), np.bool_(False)]),
    "an array of flags": (IMAGES, np.array(SAME)),
    "an array of numbers": (IMAGES, np.array([1, 0])),
    "an array of big-endian numbers": (IMAGES, np.array([1, 0], ">i4")),
    "flags that are numbers": (IMAGES, [1, 0]),
    "numpy numbers": (IMAGES, [np.int64(1), np.float32(0)]),
    "flags that are arrays": (IMAGES, [np.array(True), np.array([0])]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", range(6))
def test_bins_written_by_python_3_are_read(tmp_path, kind, protocol):
    if isinstance(KINDS[kind][0][0], bytearray) and protocol < 5:
        pytest.skip("only protocol 5 has bytearrays")
    content = pickle.dumps(KINDS[kind], protocol)
    if protocol < 4:
        # The name as old numpy wrote it; in protocol 4 its length comes before it.
        content = content.replace(b"numpy._core", b"numpy.core")
    images, same = read_bin(written(tmp_path, content))
    assert images == IMAGES and same.tolist() == SAME


def test_old_module_names_of_numpy_are_read_in_new_protocols(tmp_path):
    content = pickle.dumps((ARRAYS, SAME), protocol=4)
    new = b"\x8c\x16numpy._core.multiarray"
    assert new in content
    renamed = content.replace(new, b"\x8c\x15numpy.core.multiarray")
    # The frame that holds the name is a byte shorter.
    assert read_bin(written(tmp_path, renamed))[0] == IMAGES


@pytest.mark.parametrize(
    "content",
    [
        # Python 2.7's pickle and cPickle wrote these from (["\xff'a", "b\n"], [True]).
        b"((lp0\nS\"\\xff'a\"\np1\naS'b\\n'\np2\na(lp3\nI01\natp4\n.",
        b"(]q\x00(U\x03\xff'aq\x01U\x02b\nq\x02e]q\x03I01\natq\x04.",
        b"\x80\x02]q\x00(U\x03\xff'aq\x01T\x02\x00\x00\x00b\nq\x02e]q\x03\x88a\x86q\x04.",
    ],
)
def test_bins_written_by_python_2_are_read(tmp_path, content):
    images, same = read_bin(written(tmp_path, content))
    assert images == [b"\xff'a", b"b\n"] and same.tolist() == [True]


def test_arrays_written_by_python_2_are_read(tmp_path):
    """numpy 1.16 under Python 2 writes names and bytes as short strings, and flags as 0 and 1."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x03a\xffctb"
    )
    flag = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02b1K\x00K\x01\x87RU\x01\x01\x86R"
    content = b"\x80\x02](" + array + b"U\x02dee](" + flag + b"e\x86."
    assert pickle.loads(content, encoding="bytes")[1] == [np.True_]
    images, same = read_bin(written(tmp_path, content))
    assert images == [b"a\xffc", b"de"] and same.tolist() == [True]


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return Path.unlink, (self.victim,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_bin_never_runs_code(tmp_path, protocol):
    victim = tmp_path / "victim"
    victim.touch()
    content = pickle.dumps(([Malicious(victim)], [True]), protocol)
    with pytest.raises(BinError, match="does not need"):
        read_bin(written(tmp_path, content))
    assert victim.exists()


U1 = b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R"


def array(dtype: bytes, shape: bytes, content: bytes) -> bytes:
    """Return a pickle whose first image is an array made of these parts."""
    made = b"cnumpy._core.numeric\n_frombuffer\n(" + content + dtype + shape + b"U\x01CtR"
    return b"\x80\x03](" + made + b"C\x01ae]\x88a\x86."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"text", "cut short, or a value is missing"),
        (b"\xff\xd8\xff\xe0", "opcode 0xff"),
        (pickle.dumps(5), r"expected \(bins, issame\), found a int"),
        (pickle.dumps(([], [])), "no pairs"),
        (pickle.dumps(([b"1"], [True])), "1 pairs need 2 images, found 1"),
        (pickle.dumps(([b"1"] * 3, [True])), "1 pairs need 2 images, found 3"),
        (pickle.dumps(([12545, b"1"], [True])), "an image is a int"),
        (pickle.dumps(([[1], b"1"], [True])), "an image is a list"),
        (pickle.dumps((["a", b"1"], [True])), "an image is a str"),
        (pickle.dumps((5, [True])), "found a int in place of a list"),
        (pickle.dumps(([b"1", b"2"], True)), "found a bool in place of a list"),
        (pickle.dumps(([b"1", b"2"], [None])), "a flag is None"),
        (pickle.dumps(([b"1", b"2"], [2])), "a flag is 2"),
        (pickle.dumps(([b"1", b"2"], [np.float64("nan")])), "a flag is nan"),
        (pickle.dumps(([b"1", b"2"], ["True"])), "a flag is 'True'"),
        (pickle.dumps(([b"1", b"2"], [[True]])), "a flag is a list"),
        (pickle.dumps(([b"1", b"2"], [1 << 80])), "a number of 11 bytes"),
        (pickle.dumps({"bins": []}), "opcode 0x7d"),
        (pickle.dumps((ARRAYS[0].reshape(-1, 1)[:4].reshape(2, 2), SAME)), "not one-dimensional"),
        (pickle.dumps(([np.zeros((4, 4), np.uint8)] * 2, [True])), "not one-dimensional"),
        (pickle.dumps(([np.zeros(4, np.float32)] * 2, [True])), "an image is a numpy array"),
        (pickle.dumps(([np.zeros(4, "M8[s]")] * 2, [True])), "numpy array of type .M8"),
        (pickle.dumps(([np.zeros(2, "u1,u1")] * 2, [True])), "numpy array of type .V2"),
        (pickle.dumps((IMAGES, SAME))[:-1], "cut short, or a value is missing"),
        (pickle.dumps((IMAGES, SAME))[:2000], "bytes are more than the file has left"),
        (b"\x80\x04K\x01\x86.", "cut short, or a value is missing"),
        (b"\x80\x04h\x05.", "the memo has no entry 5"),
        (b"\x80\x04K\x01)R.", "it calls a int"),
        (b"\x80\x04K\x01Nb.", "gives a state to a int"),
        (b"\x80\x04K\x01Na.", "appends to a int"),
        (b"I" + b"9" * 5000 + b"\n.", "5000 digits"),
        (b"S'abc\n.", "without quotes"),
        (b"X\x01\x00\x00\x00\xff.", "utf-8"),
        # Arrays of objects: their addresses would be read from the file.
        (array(U1.replace(b"u1", b"O8"), b"K\x01\x85", b"C\x08" + b"A" * 8), "content is a bytes"),
        # An array larger than the file.
        (array(U1, b"\x8a\x05\x00\x00\x00\x00\x02\x85", b"C\x01A"), "not one-dimensional"),
        (b"\x80\x04B\xff\xff\xff\x7f.", "bytes are more than the file has left"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "bytes are more than the file has left"),
        (b"\x80\x02T\xfe\xff\xff\xff.", "bytes are more than the file has left"),
    ],
)  # fmt: skip
def test_broken_bins_are_named(tmp_path, content, message):
    with pytest.raises(BinError, match=message) as error:
        read_bin(written(tmp_path, content))
    assert str(tmp_path / "a.bin") in str(error.value) and "\n" not in str(error.value)


def test_paths_that_are_no_files_are_named(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(BinError, match="not a file"):
            read_bin(path)
    with pytest.raises(FileNotFoundError):
        read_bin(tmp_path / "absent.bin")


READ = """
import resource, sys
from lh2face.data.verification_bin import BinError, read_bin
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_bin(path)
    except BinError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
MIB = 1 << 20
GREEDY = {
    # Keys of the memo: Python's unpickler makes a table as long as the greatest key.
    "text number": b"\x80\x03]p2000000000\n]\x86.",
    "number": b"\x80\x03]r" + struct.pack("<I", 2_000_000_000) + b"]\x86.",
    # One object per byte of the file.
    "lists": b"]" * 8 * MIB + b".",
    "nested": b"N" + b"\x85" * 8 * MIB + b".",
    "marks": b"(" * 8 * MIB + b".",
    "remembered": b"N" + b"\x94" * 8 * MIB + b".",
    "digits": b"I" + b"9" * 8 * MIB + b"\n.",
}


def test_memory_is_bounded_by_the_file(tmp_path):
    paths = [tmp_path / f"{name}.bin" for name in GREEDY]
    for path, content in zip(paths, GREEDY.values(), strict=True):
        path.write_bytes(content)
    done = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    *errors, kib = done.stdout.splitlines()
    assert len(errors) == len(paths)
    assert all(str(path) in error for path, error in zip(paths, errors, strict=True))
    # Without the bound, the lists alone would take 500 MiB.
    assert int(kib) < 250 * 1024


def test_damaged_bins_end_in_a_result_or_an_error(tmp_path):
    """Bytes are changed at random; ``LH2FACE_FUZZ=100000`` gives a longer run."""
    rng = random.Random(0)
    # The images are short; otherwise nearly all changes would fall into them.
    small = [np.array([1, 2], np.uint8), np.array([3], np.uint8)]
    several = [(small, [np.True_]), (np.array([b"1", b"2"], object), np.array([1])),
               ([b"1", b"2"], [True])]  # fmt: skip
    contents = [pickle.dumps(bins, protocol) for bins in several for protocol in range(6)]
    for _ in range(int(os.environ.get("LH2FACE_FUZZ", "3000"))):
        raw = bytearray(rng.choice(contents))
        for _ in range(rng.randint(1, 3)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        try:
            images, same = read_bin(written(tmp_path, bytes(raw)))
        except BinError as error:
            assert "a.bin" in str(error) and "\n" not in str(error)
        else:
            assert len(images) == 2 * len(same) and all(type(i) is bytes for i in images)
