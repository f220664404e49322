import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lh2face.data import datasets
from lh2face.data.datasets import RecordFaces
from lh2face.data.images import ImageError
from lh2face.data.manifest import Manifest, ManifestError, read_manifest, write_manifest
from lh2face.data.recordio import RecordError, RecordReader, RecordWriter

RNG = np.random.default_rng(0)


def encoded(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


NOISE = [encoded(RNG.integers(0, 256, (20, 20, 3), np.uint8)) for _ in range(8)]


def training_set(root, images, labels, *, classes: str | bytes | None = b"2,20,20\n", people=0):
    """Write a folder of insightface's layout; without ``property`` if ``classes`` is None."""
    root.mkdir(exist_ok=True)
    with RecordWriter(root / "train.rec") as writer:
        writer.write(0, b"", [len(images) + 1.0, len(images) + 1.0 + people])
        for key, (image, label) in enumerate(zip(images, labels, strict=True), start=1):
            writer.write(key, image, label)
        for key in range(len(images) + 1, len(images) + 1 + people):
            writer.write(key, b"", [1.0, 2.0])
    if classes is not None:
        (root / "property").write_bytes(classes)
    return str(root)


def test_training_images_are_rgb(tmp_path):
    blue = np.zeros((20, 20, 3), np.uint8)
    blue[..., 0] = 255
    faces = RecordFaces(training_set(tmp_path, [encoded(blue)] * 2, [0, 1]), 16)
    # The second pass reads from the cache.
    for item in (faces[1], faces[1]):
        assert len(faces) == faces.num_classes == 2 and item["label"] == 1
        assert item["inputs"].shape == (3, 16, 16)
        assert item["inputs"][:, 0, 0].tolist() == [0, 0, 255]


def test_undecodable_training_image_is_named(tmp_path):
    faces = RecordFaces(training_set(tmp_path, [b"not a jpeg"], [0]))
    with pytest.raises(ImageError, match=r"train\.rec: key 1"):
        faces[0]


@pytest.mark.parametrize("classes", [b"\xef\xbb\xbf2,20,20\n", b"2,20,20\r\n", b" 2 ", None])
def test_the_number_of_classes_is_read_from_property(tmp_path, classes):
    assert RecordFaces(training_set(tmp_path, NOISE[:2], [0, 1], classes=classes)).num_classes == 2


@pytest.mark.parametrize("classes", [b"", b"two", b"-2,1,1", b"0,20,20", b"2.0", b"9" * 5000,
                                     b"\xff\xd8", b"1_0", b"2,20,20" + b"\0" * 99])  # fmt: skip
def test_a_bad_property_is_named(tmp_path, classes):
    root = training_set(tmp_path, NOISE[:2], [0, 1], classes=classes)
    with pytest.raises(RecordError, match=r"property: expected classes,height,width") as error:
        RecordFaces(root)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_property_that_contradicts_the_identity_records_is_named(tmp_path):
    root = training_set(tmp_path, NOISE[:2], [0, 1], people=3)
    with pytest.raises(RecordError, match=r"property: 2 classes, but .*train\.rec has 2 images, 3"):
        RecordFaces(root)
    assert RecordFaces(training_set(tmp_path, NOISE[:2], [0, 1], people=2)).num_classes == 2


@pytest.mark.parametrize("scanned", [True, False])
@pytest.mark.parametrize(
    ("label", "message"),
    [
        (2, r"label 2 is none of the 2 classes, 0 … 1"),
        ([9.0, 0.0], r"label 9 is none of the 2 classes"),
        (2**24 + 1, r"label 16777217 is none of"),
        ([float("nan")], r"label nan: expected a whole number from 0 on"),
        ([-1.0], r"label -1: expected"),
        ([0.5], r"label 0\.5: expected"),
    ],
)
def test_bad_labels_are_named(tmp_path, label, message, scanned, monkeypatch):
    root = training_set(tmp_path, NOISE[:3], [0, label, 1])
    message = rf"train\.rec: key 2: {message}"
    if scanned:
        with pytest.raises(RecordError, match=message):
            RecordFaces(root)
    else:
        monkeypatch.setattr(datasets, "SCANNED_BYTES", 0)
        faces = RecordFaces(root, image_size=20)
        assert faces[0]["label"] == 0
        with pytest.raises(RecordError, match=message):
            faces[1]


def test_labels_may_have_gaps(tmp_path):
    root = training_set(tmp_path, NOISE[:2], [0, 7], classes=b"8,20,20")
    assert RecordFaces(root).num_classes == 8


def test_records_without_images_are_refused(tmp_path):
    with pytest.raises(RecordError, match="no images in it"):
        RecordFaces(training_set(tmp_path, [], []))


@pytest.fixture
def decoded(monkeypatch):
    """Lists the images that were decoded in this process."""
    calls = []

    def count(encoded, size, source):
        calls.append(source)
        return decode(encoded, size, source)

    decode = datasets.decode_rgb
    monkeypatch.setattr(datasets, "decode_rgb", count)
    return calls


def epoch(faces, workers):
    context = "fork" if workers else None
    loader = DataLoader(faces, 3, num_workers=workers, multiprocessing_context=context)
    return [(batch["inputs"], batch["label"]) for batch in loader]


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b)
        for one, two in zip(first, second, strict=True)
        for a, b in zip(one, two, strict=True)
    )


def test_images_that_workers_decoded_are_cached_for_later_epochs(tmp_path, decoded):
    root = training_set(tmp_path, NOISE, [i % 2 for i in range(8)])
    faces = RecordFaces(root, image_size=20)
    first = epoch(faces, 2)
    assert not decoded
    # All images come from the cache, which the workers filled.
    assert equal(epoch(faces, 0), first) and not decoded
    assert equal(epoch(faces, 2), first)
    # A caller may change an image without changing the cache.
    faces[0]["inputs"].zero_()
    assert equal(epoch(faces, 0), first)


MIRROR = [{"type": "RandomMirror"}]
# Noise makes the pixels of each image depend on many draws.
NOISY = [*MIRROR, {"type": "RandomOcclusion", "probability": 1.0}]


def test_the_pipeline_mirrors_half_of_the_images(tmp_path):
    root = training_set(tmp_path, NOISE, [i % 2 for i in range(8)])
    plain, faces = RecordFaces(root, 20), RecordFaces(root, 20, pipeline=MIRROR)
    mirrored = []
    for number in range(40):
        faces.set_epoch(0, number)
        for one, two in zip(plain, faces, strict=True):
            assert one["label"] == two["label"]
            mirrored.append(torch.equal(two["inputs"], one["inputs"].flip(2)))
            assert mirrored[-1] or torch.equal(two["inputs"], one["inputs"])
    # 160 are expected, with a standard deviation of 9.
    assert 120 < sum(mirrored) < 200


def test_augmentation_follows_seed_epoch_and_index_alone(tmp_path, monkeypatch):
    root = training_set(tmp_path, NOISE[:1] * 8, [i % 2 for i in range(8)])
    faces = RecordFaces(root, 20, pipeline=NOISY)
    found = {}
    for seed, number in ((0, 0), (0, 1), (1, 0)):
        faces.set_epoch(seed, number)
        found[seed, number] = epoch(faces, 0)
    # All eight images are the same, so only draws make them differ.
    images = torch.cat([images for run in found.values() for images, _ in run])
    assert len(images.unique(dim=0)) == 24
    monkeypatch.setattr(datasets, "CACHE_BYTES", 0)
    bare = RecordFaces(root, 20, pipeline=NOISY)
    # The data set begins with epoch 0 of seed 0. Workers, a missing cache and the order of reading
    # change nothing.
    assert equal(epoch(bare, 0), found[0, 0])
    bare.set_epoch(0, 1)
    assert equal(epoch(bare, 2), found[0, 1])
    backwards = [bare[i]["inputs"] for i in reversed(range(8))][::-1]
    assert torch.equal(torch.stack(backwards), torch.cat([images for images, _ in found[0, 1]]))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_persistent_workers_are_told_the_epoch(tmp_path, context):
    root = training_set(tmp_path, NOISE, [i % 2 for i in range(8)])
    faces = RecordFaces(root, 20, pipeline=NOISY)
    loader = DataLoader(
        faces, 3, num_workers=1, multiprocessing_context=context, persistent_workers=True
    )
    for number in (0, 5, 1):
        faces.set_epoch(7, number)
        found = [(batch["inputs"], batch["label"]) for batch in loader]
        assert equal(found, epoch(faces, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda results: {"img": results["img"][:10]}, r"found uint8 of shape \(10, 20, 3\)"),
        (lambda results: {"img": results["img"] / 255}, r"found float64 of shape \(20, 20, 3\)"),
    ],
)
def test_a_pipeline_with_a_wrong_result_is_named(tmp_path, change, message):
    faces = RecordFaces(training_set(tmp_path, NOISE[:2], [0, 1]), 20, pipeline=[change])
    with pytest.raises(ValueError, match=rf"^pipeline: expected .*\(20, 20, 3\), {message}"):
        faces[0]


def test_images_are_the_same_with_and_without_cache(tmp_path, decoded, monkeypatch):
    root = training_set(tmp_path, NOISE, [i % 2 for i in range(8)])
    kept = RecordFaces(root, image_size=20)
    monkeypatch.setattr(datasets, "CACHE_BYTES", 8 * 3 * 20 * 20 - 1)
    bare = RecordFaces(root, image_size=20)
    assert equal(epoch(kept, 0), epoch(bare, 0)) and len(decoded) == 16
    assert equal(epoch(kept, 0), epoch(bare, 0)) and len(decoded) == 24


def test_a_pickled_data_set_has_its_own_cache(tmp_path, decoded):
    faces = RecordFaces(training_set(tmp_path, NOISE[:2], [0, 1]), image_size=20)
    expected = faces[1]["inputs"]
    sent = pickle.loads(pickle.dumps(faces))
    assert torch.equal(sent[1]["inputs"], expected) and len(decoded) == 2
    assert torch.equal(sent[1]["inputs"], expected) and len(decoded) == 2


def source(root, labels, *, records=None, classes=None, start=0):
    """Write a source with a manifest; its records of ``NOISE`` lie in its folder or elsewhere."""
    root.mkdir(parents=True)
    classes = classes or max(labels) + 1
    images = [NOISE[(start + i) % len(NOISE)] for i in range(len(labels))]
    training_set(records or root, images, labels, classes=f"{classes},20,20".encode())
    written = Manifest(
        "photos", str(records or "."), True, len(labels), classes, 0, "", "0" * 64
    )  # fmt: skip
    write_manifest(root, written)
    return root


def naive(*parts):
    """Return images and labels of sources one after the other, read with RecordReader."""
    found, before = [], 0
    for records, classes in parts:
        reader = RecordReader(records / "train.rec")
        for key in range(1, len(reader)):
            header, content = reader[key]
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            label = before + int(header.label)
            found.append((pixels.transpose(2, 0, 1).tolist(), label))
        before += classes
    return found


@pytest.mark.parametrize("cached", [True, False])
def test_sources_are_joined_in_the_order_of_their_names(tmp_path, monkeypatch, cached):
    if not cached:
        monkeypatch.setattr(datasets, "CACHE_BYTES", 0)
    root = tmp_path / "train"
    source(root / "b", [1, 0, 1], start=2)
    source(root / "a", [0, 0, 4], classes=6)
    source(root / "c", [0], records=tmp_path / "elsewhere", start=5)
    faces = RecordFaces(str(root), image_size=20)
    expected = naive((root / "a", 6), (root / "b", 2), (tmp_path / "elsewhere", 1))
    assert len(faces) == len(expected) == 7 and faces.num_classes == 9
    for _ in range(2):
        items = [faces[i] for i in range(7)]
        assert [(item["inputs"].tolist(), item["label"]) for item in items] == expected
    assert faces[-1]["label"] == faces[6]["label"] == 8
    assert epoch(faces, 0)[-1][1].tolist() == [8]
    assert equal(epoch(faces, 2), epoch(faces, 0))
    with pytest.raises(IndexError):
        faces[7]


def test_joined_sources_share_one_limit_of_memory(tmp_path, monkeypatch):
    for name in "ab":
        source(tmp_path / name, [0, 1])
    monkeypatch.setattr(datasets, "CACHE_BYTES", 3 * 3 * 20 * 20)
    assert RecordFaces(str(tmp_path / "a"), image_size=20)._cache
    assert not RecordFaces(str(tmp_path), image_size=20)._cache


def test_a_folder_with_a_manifest_reads_its_records(tmp_path):
    bare = tmp_path / "bare"
    root = source(tmp_path / "x", [0, 1, 2], records=bare)
    with_manifest, without = RecordFaces(str(root), 20), RecordFaces(str(bare), 20)
    assert equal(epoch(with_manifest, 0), epoch(without, 0))


@pytest.mark.parametrize("scanned", [True, False])
def test_records_that_changed_after_the_manifest_are_named(tmp_path, monkeypatch, scanned):
    if not scanned:
        monkeypatch.setattr(datasets, "SCANNED_BYTES", 0)
    root = source(tmp_path / "a", [0, 1, 1])
    training_set(root, NOISE[:2], [0, 1])
    message = (
        r"a/manifest\.json: 3 images of 2 identities, but .*train\.rec now has 2 images of 2 id"
    )
    with pytest.raises(ManifestError, match=message):
        RecordFaces(str(root))
    training_set(root, NOISE[:3], [0, 1, 2], classes=b"3,20,20")
    with pytest.raises(ManifestError, match=r"now has 3 images of 3 id"):
        RecordFaces(str(root))


def test_the_manifest_gives_the_classes_of_a_large_file(tmp_path, monkeypatch):
    root = source(tmp_path / "a", [0, 1, 1])
    (root / "property").unlink()
    monkeypatch.setattr(datasets, "SCANNED_BYTES", 0)
    monkeypatch.setattr(RecordReader, "identities", None)
    assert RecordFaces(str(root)).num_classes == 2


def test_a_label_outside_its_source_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "SCANNED_BYTES", 0)
    source(tmp_path / "a", [0, 5], classes=2)
    source(tmp_path / "b", [0, 1, 2, 3, 4, 5])
    faces = RecordFaces(str(tmp_path), image_size=20)
    with pytest.raises(RecordError, match=r"a/train\.rec: key 2: label 5 is none of the 2"):
        faces[1]


def test_an_empty_source_is_named(tmp_path):
    source(tmp_path / "a", [0, 1])
    training_set(source(tmp_path / "b", [0]), [], [])
    with pytest.raises(RecordError, match=r"b/train\.rec: no images in it"):
        RecordFaces(str(tmp_path))


def test_faces_that_are_not_aligned_are_refused(tmp_path):
    root = source(tmp_path / "a", [0, 1, 1])
    write_manifest(root, replace(read_manifest(root), aligned=False))
    with pytest.raises(ManifestError, match=r"a/manifest\.json: its faces are not aligned"):
        RecordFaces(str(root))


POINTS = RNG.uniform(20, 90, (2, 5, 2)).astype(np.float32)


def with_landmarks(root, points=POINTS):
    """Write two faces with their landmarks."""
    folder = training_set(root, NOISE[:2], [0, 1])
    np.save(root / "aligned_landmarks.npy", points)
    return folder


def test_landmarks_are_mirrored_with_their_faces(tmp_path):
    root = with_landmarks(tmp_path)
    assert "landmarks" not in RecordFaces(root, 20)[0]
    faces = RecordFaces(root, 20, landmarks=True)
    assert [faces[index]["landmarks"].tolist() for index in (0, 1)] == POINTS.tolist()
    mirror = [{"type": "RandomMirror", "probability": 1.0}]
    mirrored = RecordFaces(root, 20, mirror, landmarks=True)[1]["landmarks"]
    # The order is left eye, right eye, nose, left and right mouth corner, as seen in the image.
    expected = [[111 - x, y] for x, y in POINTS[1, [1, 0, 2, 4, 3]].tolist()]
    assert mirrored.dtype == torch.float32
    assert np.allclose(mirrored, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (POINTS[:1], r"expected float32 of shape \(2, 5, 2\).* found float32 of shape \(1, 5, 2\)"),
        (POINTS.astype(np.float64), "expected .* found float64"),
        (np.where(POINTS > 80, np.nan, POINTS), "not all landmarks are finite"),
    ],
)
def test_landmarks_of_a_wrong_shape_or_value_are_named(tmp_path, points, message):
    root = with_landmarks(tmp_path, points)
    with pytest.raises(ManifestError, match=rf"aligned_landmarks\.npy: {message}"):
        RecordFaces(root, landmarks=True)


def test_missing_landmarks_are_named(tmp_path):
    root = training_set(tmp_path, NOISE[:2], [0, 1])
    with pytest.raises(ManifestError, match=r"aligned_landmarks\.npy: no such file; only faces"):
        RecordFaces(root, landmarks=True)
