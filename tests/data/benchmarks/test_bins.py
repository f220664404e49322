"""A benchmark names a verification bin by its path, or by a folder and a name in it."""

import pytest

from lh2face.data.benchmarks.bins import Bin
from lh2face.data.verification_bin import write_bin

IMAGES = [b"one", b"two", b"three", b"four"]


def test_a_bin_is_found_by_its_path_or_by_folder_and_name(tmp_path):
    write_bin(tmp_path / "lfw.bin", IMAGES, [True, False])
    for source in (Bin(str(tmp_path / "lfw.bin")), Bin(str(tmp_path), "lfw.bin")):
        opened = source.open(tmp_path / "raw")
        assert opened.pairs == {"lfw": [("0", "1", 1), ("2", "3", 0)]}
        assert [opened.read(row) for row in range(4)] == IMAGES
        assert opened.sources[3] == f"{tmp_path / 'lfw.bin'}: image 3"


def test_a_bin_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "bins").mkdir()
    write_bin(tmp_path / "lfw.bin", IMAGES, [True, False])
    with pytest.raises(ValueError, match=r"^file: \.\./lfw\.bin is not in .*bins"):
        Bin(str(tmp_path / "bins"), "../lfw.bin").open(tmp_path / "raw")
