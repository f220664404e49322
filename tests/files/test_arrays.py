"""Files of NumPy arrays are read, or the error names the file and what is wrong."""

import zipfile

import numpy as np
import pytest

from lh2face.files import arrays
from lh2face.files.arrays import read_arrays


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, index=np.arange(3), depth=np.ones((3, 4), np.float16))
    return path


def test_arrays_are_read(whole):
    found = read_arrays(whole, "index", "depth")
    assert found["index"].tolist() == [0, 1, 2] and found["depth"].dtype == np.float16


def test_damaged_files_are_named(whole, tmp_path, monkeypatch):
    raw = whole.read_bytes()
    objects = tmp_path / "objects.npz"
    np.savez(objects, index=np.array([{}], object))
    (tmp_path / "cut.npz").write_bytes(raw[:-30])
    (tmp_path / "changed.npz").write_bytes(raw.replace(b"\x00<", b"\x3c<"))
    (tmp_path / "text.npz").write_bytes(b"no archive")
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file:
        header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1%s,)}"
        file.writestr("index.npy", (header % (b"0" * 14)).ljust(127) + b"\n")
    for name in ("objects", "cut", "changed", "text", "huge"):
        path = tmp_path / f"{name}.npz"
        with pytest.raises(ValueError, match=f"{name}.npz: not a whole .npz file of numbers: "):
            read_arrays(path, "index")
    with pytest.raises(ValueError, match=r"a\.npz: .*there is no array 'truth'"):
        read_arrays(whole, "index", "truth")
    with pytest.raises(ValueError, match="not a regular file"):
        read_arrays(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")
    monkeypatch.setattr(arrays, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="bytes of arrays, at most 100 are read"):
        read_arrays(whole)


def test_long_messages_about_a_zip_are_shortened(tmp_path):
    """The message of the zip module quotes an entry's name, however long it is."""
    np.savez(tmp_path / "a.npz", index=np.arange(1000))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[26:28] = (900).to_bytes(2, "little")  # length of the name, in the header of the entry
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz: not a whole \.npz file") as raised:
        read_arrays(tmp_path / "a.npz", "index")
    assert len(str(raised.value)) < 600
