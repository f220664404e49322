"""Sources and benchmarks detect faces in photos without landmarks, and list what they leave out."""

import csv
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lh2face.data.benchmark import BenchmarkError, read_benchmark
from lh2face.data.benchmarks.image_folder import ImageFolderBenchmark
from lh2face.data.benchmarks.pairs import Pairs
from lh2face.data.manifest import read_manifest
from lh2face.data.recordio import RecordReader
from lh2face.data.training_sources import ImageFolder
from lh2face.detection import Insightface, Mtcnn, insightface
from lh2face.params import Params, ParamsError, read_yaml
from lh2face.params.messages import checked
from lh2face.stages import align, align_benchmark

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)


def photo(faces, mode="RGB", kind="PNG", **options):
    """Return a photo of noise; its corner pixels tell the stand-in how many faces to find."""
    pixels = RNG.integers(60, 200, (160, 200, 3), np.uint8)
    pixels[[0, 0, -1, -1], [0, -1, 0, -1]] = faces
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return photo(1, exif=exif)


def of_16_bits():
    pixels = np.full((160, 200), 20_000, np.uint16)
    pixels[0, 0] = 257
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


KINDS = {
    "plain.png": photo(1), "turned.png": turned(), "grey.png": photo(1, "L"),
    "16 bits.png": of_16_bits(), "palette.gif": photo(1, "L", "GIF"),
    "animated.gif": photo(
        1, "L", "GIF", save_all=True, append_images=[Image.new("L", (200, 160), 90)]
    ),
    "pair.png": photo(2), "crowd.png": photo(9),
}  # fmt: skip
USELESS = {
    "nobody.png": (photo(0), "the detector finds no face"),
    "drawing.png": (photo(0, "1"), "the detector finds no face"),
    "half.png": (photo(1)[:-500], "damaged or cut short"),
    "text.jpg": (b"no picture", "not a picture"),
    "empty.jpg": (b"", "the file is empty"),
}


@pytest.fixture
def people(tmp_path):
    """A folder: one person has every kind of photo, four people have two plain ones."""
    root = tmp_path / "photos"
    for name in ("p0", "p1", "p2", "p3", "p4"):
        (root / name).mkdir(parents=True)
        for file in ("a.png", "b.png"):
            (root / name / file).write_bytes(photo(1))
    for name, content in {**KINDS, **{name: one for name, (one, _) in USELESS.items()}}.items():
        (root / "p0" / name).write_bytes(content)
    return root


def rows(path):
    with path.open(encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_uses_the_photos_with_a_face(told, people, tmp_path, capsys, workers):
    out = tmp_path / "out"
    out.mkdir()
    ImageFolder(str(people), detector=Mtcnn()).write(out, workers)
    failures = dict(rows(out / "failures.csv"))
    assert failures.keys() == {f"p0/{name}" for name in USELESS}
    for name, (_, reason) in USELESS.items():
        assert reason in failures[f"p0/{name}"]
    assert rows(out / "several_faces.csv") == [("p0/crowd.png", "9"), ("p0/pair.png", "2")]
    said = capsys.readouterr().out.splitlines()[-1]
    assert "18 images of 5 identities; left out 5, listed in failures.csv" in said
    assert "2 photos with several faces, listed in several_faces.csv; the most" in said
    manifest = read_manifest(out)
    assert (manifest.images, manifest.left_out, manifest.aligned) == (18, 5, False)
    landmarks = np.load(out / "landmarks.npy")
    # The rotated photo is turned upright before detection.
    names = sorted([*KINDS, "a.png", "b.png"])
    upright = np.zeros((200, 160, 3), np.uint8)
    upright[0, 0] = 1
    np.testing.assert_array_equal(landmarks[names.index("turned.png")], told(upright)[0].landmarks)
    params = checked(Params, read_yaml(ROOT / "params.yaml"), "params.yaml")
    align.run(params, out, tmp_path / "aligned")
    assert len(RecordReader(tmp_path / "aligned" / "train.rec")) == 1 + 18


def test_impossible_landmarks_of_a_detector_are_left_out(told, people, tmp_path, monkeypatch):
    def swapped(image):
        return [face._replace(landmarks=face.landmarks[[1, 0, 2, 4, 3]]) for face in told(image)]

    monkeypatch.setattr(Mtcnn, "open", lambda self: swapped)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ValueError, match=r"0 people with 2 usable images.*the eyes are swapped"):
        ImageFolder(str(people), detector=Mtcnn()).write(out, 1)


def test_a_benchmark_of_a_folder_uses_the_photos_with_a_face(told, people, tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    ImageFolderBenchmark(str(people), detector=Mtcnn()).write(raw, 1)
    assert len(rows(raw / "failures.csv")) == len(USELESS)
    assert len(rows(raw / "images.csv")) == 18
    assert "18 images of 5 people; left out 5" in capsys.readouterr().out


def write_pairs(people, listed):
    table = "first,second,same,fold\n" + "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in listed)
    (people / "list.csv").write_text(table)


PAIRS = [
    ("p1/a.png", "p1/b.png", 1, 0), ("p1/a.png", "p2/a.png", 0, 0),
    ("p0/plain.png", "p0/nobody.png", 1, 0), ("p0/half.png", "p2/a.png", 0, 1),
    ("p0/a.png", "p0/crowd.png", 1, 1), ("p0/crowd.png", "p3/b.png", 0, 1),
]  # fmt: skip


def test_a_pair_with_an_undetected_face_is_left_out_and_counted(told, people, tmp_path, capsys):
    write_pairs(people, PAIRS)
    benchmark = Pairs(str(people), "list.csv", detector=Mtcnn())
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    benchmark.write(raw, 2)
    said = capsys.readouterr().out
    assert "list.csv: 2 of 6 pairs are left out with their photos; 2 photos" in said
    assert "1 photos with several faces" in said
    assert rows(raw / "failures.csv") == [
        ("p0/nobody.png", "the detector finds no face"),
        ("p0/half.png", "damaged or cut short, the PNG's chunks are not whole"),
        ("list.csv", "2 of 6 pairs are left out with their photos"),
    ]
    found = benchmark.open(raw)
    assert found.pairs["list"] == [PAIRS[0], PAIRS[1], PAIRS[4], PAIRS[5]]
    assert len(found.landmarks) == len(found.sources) == 7
    values = read_yaml(ROOT / "params.yaml")
    values["benchmarks"] = {"mine": {
        "type": "pairs", "path": str(people), "list": "list.csv", "detector": {"type": "mtcnn"},
    }}  # fmt: skip
    values["compare"]["benchmarks"] = ["mine"]
    align_benchmark.run(checked(Params, values, "params.yaml"), "mine", raw, out)
    assert read_benchmark(out).pairs["list"].same.tolist() == [True, False, True, False]


def test_a_list_left_with_one_kind_of_pairs_is_refused(told, people, tmp_path):
    write_pairs(people, PAIRS[1:4])
    raw = tmp_path / "raw"
    raw.mkdir()
    with pytest.raises(BenchmarkError, match=r"list\.csv: there is no pair of one person among 1"):
        Pairs(str(people), "list.csv", detector=Mtcnn()).write(raw, 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"detector": {"type": "mtcnn"}, "landmarks": "a.csv"}, "found landmarks and a detector"),
        ({"detector": {"type": "mtcnn"}, "aligned": True}, "found aligned and a detector"),
        ({"detector": {"type": "dlib"}}, "detector"),
        ({"detector": {"type": "mtcnn", "smallest": 5}}, "smallest"),
        ({"detector": {"type": "mtcnn", "path": "a.onnx"}}, "path"),
        ({"detector": {"type": "insightface"}}, "detector"),
        ({"detector": "mtcnn"}, "detector"),
    ],
)
def test_parameters_that_cannot_be_used_are_named(source, message):
    values = read_yaml(ROOT / "params.yaml")
    values["sources"] = {"mine": {"type": "image_folder", "path": "photos", **source}}
    with pytest.raises(ParamsError, match=rf"^params\.yaml: sources\.mine.*{message}") as error:
        checked(Params, values, "params.yaml")
    assert "\n" not in str(error.value)


def test_landmarks_and_a_detector_together_are_refused_in_code_too(told, people, tmp_path):
    for source in (
        ImageFolder(str(people), landmarks="a.csv", detector=Mtcnn()),
        ImageFolderBenchmark(str(people), aligned=True, detector=Mtcnn()),
        Pairs(str(people), "list.csv", landmarks="a.csv", detector=Mtcnn()),
    ):
        with pytest.raises(ValueError, match=r"photos: found (landmarks|aligned) and a detector"):
            source.write(tmp_path, 1)


@pytest.mark.parametrize(
    ("content", "message"), [(b"no model", "not an ONNX file"), (None, "not a")]
)
def test_an_invalid_detector_file_stops_the_stage(people, tmp_path, content, message):
    pytest.importorskip("insightface")
    path = tmp_path / "detector.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"detector.onnx: {message}"):
        ImageFolder(str(people), detector=Insightface(str(path))).write(tmp_path, 1)


def test_a_photo_that_makes_insightface_fail_is_left_out(told, people, tmp_path, monkeypatch):
    """One such photo must not end the run over all others."""
    retinaface = pytest.importorskip("insightface.model_zoo.retinaface")

    class Failing:
        def __init__(self, path, session):
            pass

        def prepare(self, ctx_id, input_size):
            pass

        def detect(self, image):
            count = image[0, 0, 0]
            if count == 9:
                raise RuntimeError("Failed to allocate\nmemory")
            faces = told(image)
            boxes = [[*face.box, face.score] for face in faces]
            return np.array(boxes).reshape(-1, 5), np.array([face.landmarks for face in faces])

    monkeypatch.setattr(retinaface, "RetinaFace", Failing)
    outputs = SimpleNamespace(graph=SimpleNamespace(output=range(9)))
    monkeypatch.setattr(insightface, "read_onnx", lambda path: outputs)
    monkeypatch.setattr(insightface, "open_session", lambda path: None)
    out = tmp_path / "out"
    out.mkdir()
    ImageFolder(str(people), detector=Insightface("detector.onnx")).write(out, 1)
    failures = dict(rows(out / "failures.csv"))
    assert failures.keys() == {"p0/crowd.png", *(f"p0/{name}" for name in USELESS)}
    assert failures["p0/crowd.png"] == "the detector fails on it (Failed to allocate)"
