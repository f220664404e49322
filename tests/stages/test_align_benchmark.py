"""Stage align_benchmark aligns every type of benchmark without loss, and names bad inputs."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from lh2face.data.align import TEMPLATE, norm_crop
from lh2face.data.benchmark import read_benchmark
from lh2face.data.benchmarks import BENCHMARKS
from lh2face.data.ijb_meta import write_meta
from lh2face.data.images import decode_rgb, encode_jpeg
from lh2face.data.template_lists import benchmark_meta
from lh2face.data.verification_bin import write_bin
from lh2face.params import load_params
from lh2face.stages import align_benchmark, benchmark

ROOT = Path(__file__).resolve().parents[2]
COUNT = 12
NAMES = [f"{i}.jpg" for i in range(COUNT)]
RNG = np.random.default_rng(0)
POINTS = np.stack([TEMPLATE + np.array([2 * i, i]) for i in range(COUNT)]).astype(np.float32)
PHOTOS = [
    encode_jpeg(cv2.GaussianBlur(RNG.integers(0, 256, (150, 150, 3), np.uint8), (0, 0), 3))
    for _ in range(COUNT)
]


def landmarks_csv(points=POINTS) -> str:
    rows = zip(NAMES, points.reshape(COUNT, 10).tolist(), strict=True)
    return "".join(f"{name},{','.join(map(str, row))}\n" for name, row in rows)


@pytest.fixture
def ijb(tmp_path) -> Path:
    """Photos and lists in the layout of IJB, with two templates per person."""
    root = tmp_path / "IJBX"
    (root / "loose_crop").mkdir(parents=True)
    for name, photo in zip(NAMES, PHOTOS, strict=True):
        (root / "loose_crop" / name).write_bytes(photo)
    ids = np.arange(1, COUNT + 1)
    meta = benchmark_meta(
        NAMES, POINTS, np.linspace(0.5, 1, COUNT, dtype=np.float32), ids, ids,
        subjects=np.arange(COUNT) // 2, rng=np.random.default_rng(0),
    )  # fmt: skip
    write_meta(root, "ijbx", meta)
    return root


@pytest.fixture
def folder(tmp_path) -> Path:
    """Photos with landmarks and a list of pairs in two folds."""
    root = tmp_path / "photos"
    root.mkdir()
    for name, photo in zip(NAMES, PHOTOS, strict=True):
        (root / name).write_bytes(photo)
    (root / "landmarks.csv").write_text(landmarks_csv())
    rows = [(NAMES[i], NAMES[(i + 1) % COUNT], i % 2, i // 6) for i in range(COUNT)]
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    (root / "pairs_fp.csv").write_text("first,second,same,fold\n" + text)
    return root


def params(**benchmarks):
    """Return the repository's parameters with another benchmark."""
    given = load_params(ROOT / "params.yaml")
    return type(given).model_validate(
        given.model_dump()
        | {"benchmarks": benchmarks}
        | {"compare": given.compare.model_dump() | {"benchmarks": list(benchmarks)}}
    )


def aligned(tmp_path, **config):
    given = params(it=config)
    benchmark.run(given, "it", tmp_path / "raw")
    align_benchmark.run(given, "it", tmp_path / "raw", tmp_path / "aligned")
    return read_benchmark(tmp_path / "aligned")


def pixels(made, row):
    return decode_rgb(made.faces[row + 1][1], None, "a")


def expected_crop(row):
    return norm_crop(decode_rgb(PHOTOS[row], None, "a"), POINTS[row])


def test_lists_of_ijb_are_not_copied_and_its_faces_are_stored_without_loss(tmp_path, ijb):
    made = aligned(tmp_path, type="ijb", path=str(ijb), lists="ijbx")
    assert made.names == NAMES and made.pairs == {} and made.truth is None
    assert made.origin == "photos" and made.lists == (ijb, "ijbx")
    assert made.templates.genuine.sum() == COUNT // 2
    assert not (tmp_path / "aligned" / "meta").exists()
    for row in range(COUNT):
        np.testing.assert_array_equal(pixels(made, row), expected_crop(row))


@pytest.mark.parametrize("fault", ["landmarks", "cut short", "missing"])
def test_an_unusable_image_of_ijb_is_named_with_its_line(tmp_path, ijb, fault):
    photo = ijb / "loose_crop" / NAMES[4]
    if fault == "landmarks":
        path = ijb / "meta" / "ijbx_name_5pts_score.txt"
        lines = path.read_text().splitlines()
        lines[4] = " ".join([NAMES[4], *["-1"] * 10, "0.5"])
        path.write_text("\n".join(lines) + "\n")
    elif fault == "cut short":
        photo.write_bytes(photo.read_bytes()[:999])
    else:
        photo.unlink()
    with pytest.raises(ValueError, match=rf"ijbx_name_5pts_score\.txt:5: .*{NAMES[4]}"):
        aligned(tmp_path, type="ijb", path=str(ijb), lists="ijbx")
    assert not (tmp_path / "aligned").exists()


def test_pairs_of_photos_are_aligned(tmp_path, folder):
    made = aligned(
        tmp_path, type="pairs", path=str(folder), list="pairs_fp.csv", landmarks="landmarks.csv"
    )
    assert made.names == NAMES and made.templates is None
    (listed,) = made.pairs.values()
    assert list(made.pairs) == ["pairs_fp"]
    assert listed.first.tolist() == list(range(COUNT))
    assert listed.second.tolist() == [*range(1, COUNT), 0]
    assert listed.same.tolist() == [i % 2 == 1 for i in range(COUNT)]
    assert listed.fold.tolist() == [i // 6 for i in range(COUNT)]
    np.testing.assert_array_equal(pixels(made, 7), expected_crop(7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.replace("3.jpg", "33.jpg"), r"pairs_fp\.csv: there is no image .*33\.jpg"),
        (lambda s: s.replace(",1,", ",0,"), r"pairs_fp\.csv: there is no pair of one person"),
        (lambda s: s.replace(",0,", ",1,"), r"pairs_fp\.csv: there is no pair of two people"),
        (lambda s: s.replace(",1,0", ",2,0", 1), r"pairs_fp\.csv:3: expected 0 or 1, found '2'"),
        (lambda s: s.splitlines()[0], r"pairs_fp\.csv: names no pair"),
        (lambda s: s.replace("first", "left"), r"expected each column once in the header: first"),
        (lambda s: s.replace("3.jpg", "../3.jpg"), r"pairs_fp\.csv: '\.\./3\.jpg': leads out of"),
    ],
)
def test_an_unusable_list_of_pairs_is_named(tmp_path, folder, change, message):
    path = folder / "pairs_fp.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        aligned(tmp_path, type="pairs", path=str(folder), list=path.name, landmarks="landmarks.csv")


def test_a_list_of_pairs_is_read_as_spreadsheets_save_it(tmp_path, folder):
    """The file has a byte order mark, line ends of Windows and a blank last line."""
    path = folder / "pairs_fp.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    made = aligned(
        tmp_path, type="pairs", path=str(folder), list=path.name, landmarks="landmarks.csv"
    )
    assert len(made.pairs["pairs_fp"].first) == COUNT


def test_photos_that_are_declared_as_aligned_are_refused(tmp_path, folder):
    with pytest.raises(ValueError, match=r"0\.jpg: expected an aligned face of 112 × 112"):
        aligned(tmp_path, type="pairs", path=str(folder), list="pairs_fp.csv")


def test_a_photo_without_landmarks_is_named(tmp_path, folder):
    text = "".join((folder / "landmarks.csv").read_text().splitlines(keepends=True)[:-1])
    (folder / "landmarks.csv").write_text(text)
    with pytest.raises(ValueError, match=r"landmarks\.csv: there are no landmarks of .*11\.jpg"):
        aligned(
            tmp_path, type="pairs", path=str(folder), list="pairs_fp.csv",
            landmarks="landmarks.csv",
        )  # fmt: skip


def test_a_verification_bin_keeps_its_bytes(tmp_path):
    faces = [encode_jpeg(expected_crop(row)) for row in range(COUNT)]
    same = [i % 2 == 0 for i in range(COUNT // 2)]
    write_bin(tmp_path / "lfw.bin", faces, same)
    made = aligned(tmp_path, type="bin", path=str(tmp_path / "lfw.bin"))
    assert [made.faces[row + 1][1] for row in range(COUNT)] == faces
    listed = made.pairs["lfw"]
    assert (listed.first.tolist(), listed.second.tolist()) == (
        list(range(0, COUNT, 2)), list(range(1, COUNT, 2)),
    )  # fmt: skip
    assert listed.same.tolist() == same and listed.fold is None
    write_bin(tmp_path / "lfw.bin", faces, [True] * (COUNT // 2))
    shutil.rmtree(tmp_path / "aligned")
    with pytest.raises(ValueError, match=r"lfw\.bin: there is no pair of two people among 6"):
        aligned(tmp_path, type="bin", path=str(tmp_path / "lfw.bin"))


def test_a_missing_benchmark_is_named(tmp_path):
    for config, message in (
        ({"type": "ijb", "path": str(tmp_path / "IJBC"), "lists": "ijbc"}, "IJBC"),
        ({"type": "bin", "path": str(tmp_path / "lfw.bin")}, "lfw.bin"),
        ({"type": "pairs", "path": str(tmp_path / "cfp"), "list": "p.csv"}, r"cfp/p\.csv"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            aligned(tmp_path, **config)
    with pytest.raises(ValueError, match=r"benchmarks, validation: found 'lfw', allowed"):
        align_benchmark.run(
            params(it={"type": "bin", "path": "a.bin"}), "lfw", tmp_path, tmp_path / "out"
        )


def test_each_type_is_a_section_of_the_parameters():
    assert set(BENCHMARKS) == {"synthetic", "image_folder", "ijb", "bin", "pairs"}
