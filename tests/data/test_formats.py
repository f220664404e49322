"""Alignment equals insightface's, and folders of photos become benchmarks and training records."""

import warnings

import cv2
import numpy as np
import pytest

from lh2face.data.align import TEMPLATE, norm_crop
from lh2face.data.benchmarks.image_folder import ImageFolderBenchmark
from lh2face.data.ijb_meta import read_meta
from lh2face.data.image_folder import ImageFolderError
from lh2face.data.parameters import HeldOut
from lh2face.data.recordio import RecordReader
from lh2face.data.training_sources import ImageFolder

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [112, 128, 224])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_alignment_equals_insightface(size, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from insightface.utils.face_align import norm_crop as reference

        for _ in range(20):
            image = RNG.integers(0, 256, (160, 150, 3), np.uint8)
            points = (TEMPLATE * RNG.uniform(0.5, 1.5) + RNG.normal(0, 8, (5, 2)) + 20).astype(
                dtype
            )
            np.testing.assert_array_equal(
                norm_crop(image, points, size), reference(image, points, size)
            )


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((5, 2)), "same point"),
        (np.zeros((4, 2)), "five"),
        (np.full((5, 2), np.nan), "finite"),
    ],
)
def test_bad_landmarks_are_named(points, message):
    with pytest.raises(ValueError, match=message):
        norm_crop(np.zeros((10, 10, 3), np.uint8), points)


def folder(root, people=10, images=3):
    for person in range(people):
        (root / f"; rm -rf {person}").mkdir(parents=True)
        for i in range(images):
            picture = RNG.integers(0, 256, (40, 30, 3), np.uint8)
            content = cv2.imencode(".png", picture)[1].tobytes()
            (root / f"; rm -rf {person}" / f"ä {i}.png").write_bytes(content)
    return root


PARTS = {"train": ImageFolder, "benchmark": ImageFolderBenchmark}


def run_convert(root, out, held_out=0.4, fold=0, landmarks=None, parts=PARTS):
    held_out = held_out and HeldOut(held_out, fold)
    for part in parts:
        (out / part).mkdir(parents=True)
        source = PARTS[part](str(root), landmarks is None, landmarks, held_out)
        source.write(out / part, 1)


def test_image_folder_splits_people(tmp_path):
    run_convert(folder(tmp_path / "photos"), tmp_path / "out")
    reader = RecordReader(tmp_path / "out" / "train" / "train.rec")
    assert len(reader) == 1 + 6 * 3
    meta = read_meta(tmp_path / "out" / "benchmark", "bench")
    assert len(meta.names) == 4 * 3 and len(np.unique(meta.template_ids)) == 8
    assert meta.genuine.sum() == 4


def test_folds_share_no_person_and_miss_none(tmp_path):
    root = folder(tmp_path / "photos")
    found = []
    for fold in range(2):
        run_convert(root, tmp_path / str(fold), held_out=0.5, fold=fold)
        images = sorted((tmp_path / str(fold) / "benchmark" / "loose_crop").iterdir())
        found.append({path.read_bytes() for path in images})
        reader = RecordReader(tmp_path / str(fold) / "train" / "train.rec")
        assert not found[-1] & {reader[key][1] for key in reader.keys}
    assert len(found[0]) == len(found[1]) == 15 and not found[0] & found[1]
    with pytest.raises(ImageFolderError, match=r"held_out\.fold: expected 0 … 1.*found 2"):
        run_convert(root, tmp_path / "out", held_out=0.5, fold=2)


def test_a_folder_of_too_few_people_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "empty", folder(tmp_path / "photos")):
        with pytest.raises(ImageFolderError, match=r": (0|10) people with 2 usable images"):
            run_convert(root, tmp_path / f"out of {root.name}", held_out=0.1)


def test_a_single_part_has_all_people(tmp_path):
    root = folder(tmp_path / "photos")
    run_convert(root, tmp_path / "out", held_out=None, parts=["benchmark"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["benchmark"]
    meta = read_meta(tmp_path / "out" / "benchmark", "bench")
    assert len(meta.names) == 10 * 3
    assert (tmp_path / "out" / "benchmark" / "failures.csv").exists()
    run_convert(root, tmp_path / "other", held_out=None, parts=["train"])
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["train"]
    assert len(RecordReader(tmp_path / "other" / "train" / "train.rec")) == 1 + 10 * 3


def test_each_probe_photo_of_a_folder_is_a_template(tmp_path):
    run_convert(folder(tmp_path / "photos", images=6), tmp_path / "out")
    meta = read_meta(tmp_path / "out" / "benchmark", "bench")
    sizes = np.bincount(meta.template_ids)[1:]
    assert sizes.tolist() == [3, 1, 1, 1] * 4
    galleries = np.concatenate([gallery.template_ids for gallery in meta.galleries.values()])
    assert galleries.tolist() == [1, 5, 9, 13]
    assert meta.genuine.sum() == 4 * 6


def test_image_folder_leaves_out_what_it_cannot_read(tmp_path):
    root = folder(tmp_path / "photos")
    (root / "; rm -rf 0" / "empty.jpg").touch()
    (root / "; rm -rf 0" / "text.txt").write_text("no image")
    (root / "alone").mkdir()
    (root / "alone" / "1.png").write_bytes((root / "; rm -rf 0" / "ä 0.png").read_bytes())
    run_convert(root, tmp_path / "out")
    listed = (tmp_path / "out" / "train" / "failures.csv").read_text()
    for name in ("empty.jpg", "text.txt", "alone"):
        assert name in listed


def test_image_folder_landmarks(tmp_path):
    root = folder(tmp_path / "photos")
    lines = [f"{p.relative_to(root)}," + ",".join(map(str, range(10))) for p in root.glob("*/*")]
    (root / "points.csv").write_text("\n".join(lines))
    run_convert(root, tmp_path / "out", landmarks="points.csv")
    landmarks = np.load(tmp_path / "out" / "train" / "landmarks.npy")
    np.testing.assert_array_equal(landmarks[0].ravel(), np.arange(10))


@pytest.mark.parametrize(
    ("line", "message"),
    [("absent.png,1,2,3,4,5,6,7,8,9,10", "there is no image"), ("{photo},1,2", "10 numbers")],
)
def test_bad_landmark_files_are_named(tmp_path, line, message):
    root = folder(tmp_path / "photos")
    photo = next(root.glob("*/*")).relative_to(root)
    (root / "points.csv").write_text(line.format(photo=photo))
    with pytest.raises(ImageFolderError, match=rf"points\.csv:1.*{message}"):
        run_convert(root, tmp_path / "out", landmarks="points.csv")


@pytest.mark.parametrize("people", [0, 3])
def test_missing_or_small_folders_are_named(tmp_path, people):
    root = folder(tmp_path / "photos", people) if people else tmp_path / "absent"
    with pytest.raises(ImageFolderError, match=str(root)):
        run_convert(root, tmp_path / "out")


def test_att_faces_convert(tmp_path, shared_data):
    run_convert(shared_data / "att_faces", tmp_path / "out", held_out=0.25)
    assert (tmp_path / "out" / "train" / "property").read_text() == "30,112,112\n"
