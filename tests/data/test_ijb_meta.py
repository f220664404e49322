"""Meta files of IJB are read back as they were written; errors name file and line."""

import dataclasses
import os

import numpy as np
import pytest

from lh2face.data.ijb_meta import (
    IJBMeta,
    MetaError,
    Templates,
    image_paths,
    meta_paths,
    read_meta,
    write_meta,
)


@pytest.fixture
def meta():
    return IJBMeta(
        names=["1.jpg", "2.jpg", "3.jpg"],
        landmarks=np.arange(30, dtype=np.float32).reshape(3, 5, 2),
        detector_score=np.array([0.5, 0.9, 1.0], np.float32),
        template_ids=np.array([1, 1, 4]),
        media_ids=np.array([10, 11, 12]),
        first=np.array([1, 4]),
        second=np.array([4, 1]),
        genuine=np.array([True, False]),
        galleries={"G1": Templates(np.array([1]), np.array([7]))},
        probes=Templates(np.array([4]), np.array([7])),
    )


def test_round_trip(tmp_path, meta):
    write_meta(tmp_path, "ijbb", meta)
    found = read_meta(tmp_path, "ijbb")
    assert found.names == meta.names
    for field in ("landmarks", "detector_score", "template_ids", "media_ids", "first", "second"):
        np.testing.assert_array_equal(getattr(found, field), getattr(meta, field), field)
    assert found.genuine.tolist() == [True, False]
    assert found.galleries["G1"].subject_ids.tolist() == [7]


def test_published_csv_files_with_a_line_per_image_are_read(tmp_path, meta):
    write_meta(tmp_path, "ijbb", meta)
    (tmp_path / "meta" / "ijbb_1N_gallery_G1.csv").write_text(
        'TEMPLATE_ID,SUBJECT_ID,FILENAME,X\n4,7,"a, b.jpg",0.5\n1,9,c.jpg,\n4,7,d.jpg,1\n'
    )
    gallery = read_meta(tmp_path, "ijbb").galleries["G1"]
    assert gallery.template_ids.tolist() == [4, 1]
    assert gallery.subject_ids.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("face_tid_mid.txt", "1 10", "x 10", "mid.txt:1: expected a whole number, found 'x'"),
        ("face_tid_mid.txt", "1 11", "1 11.5", "mid.txt:2: expected a whole number, found '11.5'"),
        ("face_tid_mid.txt", "4 12", "4", "mid.txt:3: expected 3 columns, found 2"),
        ("face_tid_mid.txt", "\n2.jpg", "\n\n2.jpg", "mid.txt:2: expected 3 columns, found 1"),
        ("face_tid_mid.txt", "2.jpg", "9.jpg", "mid.txt:2: images differ"),
        ("face_tid_mid.txt", "3.jpg 4 12\n", "", "mid.txt:3: images differ"),
        ("template_pair_label.txt", "1 4 1", "1 5 1", "label.txt:1: template 5 has no image"),
        ("template_pair_label.txt", "1 4 1", "1 4 2", "label.txt:1: expected the label 0 or 1"),
        ("template_pair_label.txt", "1 4 1", "1 4 0", r"label.txt: there is no genuine pair"),
        ("template_pair_label.txt", "4 1 0", "4 1 1", r"label.txt: there is no impostor pair"),
        ("name_5pts_score.txt", "0.900000", "high", "score.txt:2: expected a number, found 'high'"),
        ("name_5pts_score.txt", "0.900000", "nan", "score.txt:2: expected a number, found 'nan'"),
        ("name_5pts_score.txt", "0.900000", "", "score.txt:2: expected 12 columns, found 11"),
        ("1N_gallery_G1.csv", "1,7", "2,7", "G1.csv:2: template 2 has no image"),
        ("1N_gallery_G1.csv", "1,7", "1,7\n1,8", "G1.csv:3: template 1 is of subject 8 here"),
        ("1N_probe_mixed.csv", "4,7", "1,8", "mixed.csv:2: template 1 is of subject 8 here"),
        ("1N_probe_mixed.csv", "4,7", "4,Q", "mixed.csv:2: expected a whole number, found 'Q'"),
    ],
)  # fmt: skip
def test_errors_name_file_and_line(tmp_path, meta, file, old, new, message):
    write_meta(tmp_path, "ijbb", meta)
    path = tmp_path / "meta" / f"ijbb_{file}"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(MetaError, match=message):
        read_meta(tmp_path, "ijbb")


@pytest.mark.parametrize(
    "tidied",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b" ", b"\t"),
        lambda text: text.replace(b" ", b"  "),
        lambda text: text.replace(b"\n", b" \n"),
        lambda text: text + b"\n\n  \n",
        lambda text: text.rstrip(b"\n"),
        lambda text: b"\xef\xbb\xbf" + text.replace(b" ", b" \t").replace(b"\n", b"\r\n") + b"\r\n",
    ],
    ids=["mark", "windows", "tabs", "blanks", "blank ends", "blank lines", "no end", "all"],
)  # fmt: skip
def test_separators_and_line_ends_do_not_matter(tmp_path, meta, tidied):
    write_meta(tmp_path, "ijbb", meta)
    expected = read_meta(tmp_path, "ijbb")
    files = list((tmp_path / "meta").iterdir())
    assert len(files) == 5
    for path in files:
        path.write_bytes(tidied(path.read_bytes()))
    found = read_meta(tmp_path, "ijbb")
    assert found.names == meta.names
    for name in ("landmarks", "detector_score", "template_ids", "media_ids", "first", "second"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert found.probes.template_ids.tolist() == [4]
    assert found.galleries["G1"].subject_ids.tolist() == [7]


def test_lines_are_counted_as_the_file_has_them(tmp_path, meta):
    write_meta(tmp_path, "ijbb", meta)
    path = tmp_path / "meta" / "ijbb_face_tid_mid.txt"
    path.write_bytes(b"\xef\xbb\xbf1.jpg\t1\t10\r\n2.jpg\t1\tx\r\n3.jpg 4 12\r\n\r\n")
    with pytest.raises(MetaError, match=r"mid\.txt:2: expected a whole number, found 'x'$"):
        read_meta(tmp_path, "ijbb")


def test_a_pipe_is_refused_without_waiting(tmp_path, meta):
    write_meta(tmp_path, "ijbb", meta)
    path = tmp_path / "meta" / "ijbb_face_tid_mid.txt"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MetaError, match=r"mid\.txt: not a regular file"):
        read_meta(tmp_path, "ijbb")


def test_every_file_that_is_read_is_in_the_list_of_inputs(tmp_path, meta):
    write_meta(tmp_path, "ijbb", meta)
    assert set(meta_paths(tmp_path, "ijbb")) == set((tmp_path / "meta").iterdir())


@pytest.mark.parametrize("content", [b"", b"\xff.jpg 1 10\n2.jpg 1 11\n3.jpg 4 12\n"])
def test_empty_and_binary_files_are_named(tmp_path, meta, content):
    write_meta(tmp_path, "ijbb", meta)
    (tmp_path / "meta" / "ijbb_face_tid_mid.txt").write_bytes(content)
    with pytest.raises(
        MetaError, match=r"ijbb_face_tid_mid\.txt(:1: expected UTF-8|: there are no)"
    ):
        read_meta(tmp_path, "ijbb")


def test_a_protocol_without_galleries_is_named(tmp_path, meta):
    write_meta(tmp_path, "ijbb", dataclasses.replace(meta, galleries={}))
    with pytest.raises(MetaError, match=r"there is no ijbb_1N_gallery_\{S1,S2,G1,G2\}\.csv"):
        read_meta(tmp_path, "ijbb")


@pytest.mark.parametrize("level", ["meta", "..", "meta/bench_face_tid_mid.txt"])
def test_a_folder_of_the_wrong_level_is_named(tmp_path, meta, level):
    write_meta(tmp_path, "bench", meta)
    words = "bench_name_5pts_score.txt: no such file; expected a folder with meta/bench_name"
    with pytest.raises(FileNotFoundError, match=words):
        read_meta(tmp_path / level, "bench")


def test_a_huge_list_is_refused_unread(tmp_path, meta):
    write_meta(tmp_path, "bench", meta)
    os.truncate(tmp_path / "meta" / "bench_face_tid_mid.txt", 1 << 40)
    with pytest.raises(ValueError, match=r"tid_mid\.txt: 1099511627776 bytes; a list has at most"):
        read_meta(tmp_path, "bench")


def test_missing_images_are_named_by_the_line_that_lists_them(tmp_path, meta):
    write_meta(tmp_path, "ijbb", meta)
    (tmp_path / "loose_crop").mkdir()
    for name in ("1.jpg", "3.jpg"):
        (tmp_path / "loose_crop" / name).touch()
    with pytest.raises(MetaError, match=r"5pts_score\.txt:2: .*2\.jpg does not exist"):
        image_paths(tmp_path, "ijbb", meta.names)
    (tmp_path / "loose_crop" / "2.jpg").touch()
    assert [path.name for path in image_paths(tmp_path, "ijbb", meta.names)] == meta.names
