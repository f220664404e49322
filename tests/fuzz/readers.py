"""The readers that ``run.py`` tests: how to write valid files for each, and how to call it."""

import json
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
PARAMS = None
POINTS = "40 52 75 52 57 72 43 92 72 92"


@dataclass(frozen=True)
class Reader:
    """A reader of files that may come from anybody.

    Attributes:
        share: Its share of the inputs, relative to the other readers.
        samples: Writes valid files below a folder; yields one folder for each set of them.
        read: Reads the files of a folder.
        memory: The memory that one input may take, bytes.
    """

    share: int
    samples: Callable[[Path], Iterator[Path]]
    read: Callable[[Path], object]
    memory: int


READERS: dict[str, Reader] = {}


def reader(
    share: int, samples: Callable[[Path], Iterator[Path]], memory: int = 1 << 30
) -> Callable:
    """Register a function that reads the files of a folder."""

    def register(read: Callable[[Path], object]) -> Callable[[Path], object]:
        READERS[read.__name__] = Reader(share, samples, read, memory)
        return read

    return register


def sets(**makers: Callable[[Path], None]) -> Callable[[Path], Iterator[Path]]:
    """Return a generator of sets of files; each function writes one set in its own folder."""

    def samples(folder: Path) -> Iterator[Path]:
        for name, make in makers.items():
            path = folder / name
            if not path.exists():
                path.mkdir()
                make(path)
            yield path

    return samples


def picture(kind: str = ".jpg", size: int = 24) -> bytes:
    """An encoded picture of noise."""
    pixels = RNG.integers(0, 255, (size, size, 3), np.uint8)
    return cv2.imencode(kind, pixels)[1].tobytes()


def records(folder: Path, *, labels: list[float] | None = None, counts: bool = True) -> None:
    """A small training set."""
    from lh2face.data.recordio import RecordWriter

    with RecordWriter(folder / "train.rec") as writer:
        if counts:
            writer.write(0, b"", [7.0, 9.0])
        for key in range(1, 7):
            writer.write(key, picture(), labels or key % 2)
        if counts:
            writer.write(7, b"", [1.0, 4.0])
            writer.write(8, b"", [4.0, 7.0])
    (folder / "property").write_text("2,24,24", encoding="utf-8")


def bare_records(folder: Path) -> None:
    """Write records without an index, as other programs may."""
    records(folder, counts=False)
    (folder / "train.idx").unlink()


@reader(30, sets(counts=records, bare=bare_records))
def train_rec(folder: Path) -> None:
    """Records, index and property, as training reads them."""
    from lh2face.data.datasets import RecordFaces

    faces = RecordFaces(str(folder), image_size=24)
    for index in range(min(len(faces), 8)):
        faces[index]


def faces_with_manifest(folder: Path) -> None:
    """A source of training faces."""
    from lh2face.data.manifest import Manifest, write_manifest
    from lh2face.data.records import inspect_records

    records(folder)
    digest = inspect_records(folder).digest
    write_manifest(folder, Manifest("photos", ".", True, 6, 2, 0, "6 images", digest))


@reader(5, sets(faces=faces_with_manifest))
def training_source(folder: Path) -> None:
    """A manifest and the records that it names."""
    from lh2face.data.datasets import RecordFaces
    from lh2face.data.records import inspect_records

    inspect_records(folder)
    RecordFaces(str(folder), image_size=24)


# One content holds the magic number of a record, one is empty.
CONTENTS = [b"first image", b"\x0a\x23\xd7\xce" * 3, b"", b"a third one" * 5]


def known_records(folder: Path) -> None:
    """Records whose content :func:`record_file` knows."""
    from lh2face.data.recordio import RecordWriter

    with RecordWriter(folder / "a.rec") as writer:
        for key, content in enumerate(CONTENTS):
            writer.write(key, content, [1.0, 2.0] if key == 3 else key)


@reader(20, sets(known=known_records))
def record_file(folder: Path) -> None:
    """Read records and their index: what is read must be whole records that were written."""
    from lh2face.data.recordio import RecordReader

    reader = RecordReader(folder / "a.rec")
    found = {key: reader[key] for key in reader.keys}
    known = folder.parent / "known"
    raw, index = ((folder / name).read_bytes() for name in ("a.rec", "a.idx"))
    if raw == (known / "a.rec").read_bytes():
        assert {content for _, content in found.values()} <= set(CONTENTS)
    elif len(raw) == (known / "a.rec").stat().st_size and index == (known / "a.idx").read_bytes():
        # A record has its old size, up to zeros that fill a multiple of four. Record 1 is in
        # parts and may lose some, because the file does not say how many there were.
        sizes = {key: 4 * header.flag + len(content) for key, (header, content) in found.items()}
        assert [-sizes[key] // 4 for key in (0, 2, 3)] == [-11 // 4, 0, -(8 + 55) // 4]


def new_bin(folder: Path) -> None:
    """Write a bin as this project does."""
    from lh2face.data.verification_bin import write_bin

    write_bin(folder / "a.bin", [picture() for _ in range(4)], [True, False])


def old_bin(folder: Path) -> None:
    """Write a bin as old numpy did."""
    arrays = [np.frombuffer(picture(), np.uint8) for _ in range(4)]
    raw = pickle.dumps((arrays, np.array([True, False])), protocol=2)
    (folder / "a.bin").write_bytes(raw.replace(b"numpy._core", b"numpy.core"))


@reader(40, sets(new=new_bin, old=old_bin))
def verification_bin(folder: Path) -> None:
    """A verification bin."""
    from lh2face.data.verification_bin import read_bin

    images, same = read_bin(folder / "a.bin")
    assert len(images) == 2 * len(same) and same.dtype == bool
    assert all(type(image) is bytes for image in images)


def pictures(folder: Path, kind: str) -> None:
    """One picture."""
    (folder / "a").write_bytes(picture(kind))


@reader(30, sets(**{
    kind: lambda folder, kind=kind: pictures(folder, f".{kind}")
    for kind in ("jpg", "png", "bmp", "ppm", "tiff", "webp")
}))  # fmt: skip
def image(folder: Path) -> None:
    """An encoded picture."""
    from lh2face.data.images import decode_rgb

    decode_rgb((folder / "a").read_bytes(), 32, "a")


def ijb(folder: Path) -> None:
    """Write lists of IJB into one folder."""
    names = [f"{i}.jpg" for i in range(1, 13)]
    lines = {
        "ijbc_name_5pts_score.txt": [f"{name} {POINTS} 0.9" for name in names],
        "ijbc_face_tid_mid.txt": [f"{name} {1 + i // 2} {i}" for i, name in enumerate(names)],
        "ijbc_template_pair_label.txt": [
            f"{a} {b} {int(a + 1 == b)}" for a in (1, 3, 5) for b in (2, 4, 6)
        ],
        "ijbc_1N_gallery_G1.csv": ["TEMPLATE_ID,SUBJECT_ID", "1,0", "3,1"],
        "ijbc_1N_gallery_G2.csv": ["TEMPLATE_ID,SUBJECT_ID", "5,2"],
        "ijbc_1N_probe_mixed.csv": ["TEMPLATE_ID,SUBJECT_ID", "2,0", "4,1", "6,2"],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")


@reader(20, sets(ijbc=ijb))
def ijb_lists(folder: Path) -> None:
    """The lists of IJB-C."""
    from lh2face.data.ijb_meta import read_meta

    root = folder.parent / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(folder, root / "meta")
    read_meta(root, "ijbc")


def landmark_file(folder: Path) -> None:
    """Landmarks of three photos."""
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(b"")
    values = POINTS.replace(" ", ",")
    (folder / "landmarks.csv").write_text(
        "".join(f"{name}.jpg,{values}\n" for name in "abc"), encoding="utf-8"
    )


@reader(15, sets(csv=landmark_file))
def landmarks(folder: Path) -> None:
    """A landmark file."""
    from lh2face.data.landmark_list import read_landmarks

    read_landmarks(folder / "landmarks.csv", folder)


def magface_files(folder: Path) -> None:
    """A list of MagFace and its pictures."""
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(picture())
    (folder / "list.txt").write_text("a.jpg 0 1\nb.jpg 0 1\nc.jpg 0 2\n", encoding="utf-8")


@reader(15, sets(list=magface_files))
def magface_list(folder: Path) -> None:
    """A training list of MagFace, to records."""
    convert("magface_list", folder / "list.txt")


def tar(folder: Path) -> None:
    """A shard of a web data set."""
    with tarfile.open(folder / "a.tar", "w") as file:
        for number in range(4):
            for kind, content in (("jpg", picture()), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number:04d}.{kind}")
                member.size = len(content)
                file.addfile(member, BytesIO(content))


@reader(15, sets(tar=tar))
def webdataset(folder: Path) -> None:
    """A shard of a web data set, to records."""
    convert("webdataset", folder / "a.tar")


def parquet_file(folder: Path) -> None:
    """Pictures and identities."""
    import pyarrow
    from pyarrow import parquet as writer

    table = pyarrow.table({"image": [picture() for _ in range(4)], "label": [0, 0, 1, 1]})
    writer.write_table(table, folder / "a.parquet")


@reader(10, sets(parquet=parquet_file))
def parquet(folder: Path) -> None:
    """A Parquet file, to records."""
    convert("parquet", folder / "a.parquet")


def convert(source: str, path: Path) -> None:
    """Faces of a source, as records beside the input."""
    from lh2face.tools import records as tool

    out = path.parent.parent / "records"
    shutil.rmtree(out, ignore_errors=True)
    tool.run(source, path, out)


def parameter_file(folder: Path) -> None:
    """The parameters of this repository."""
    text = (ROOT / "params.yaml").read_text()
    text = text.replace("config: plugin/", f"config: {ROOT}/plugin/")
    (folder / "params.yaml").write_text(text)


@reader(3, sets(params=parameter_file))
def parameters(folder: Path) -> None:
    """params.yaml."""
    from lh2face.params import load_params

    load_params(folder / "params.yaml")


def overlays(folder: Path) -> None:
    """An overlay beside the parameters."""
    parameter_file(folder)
    shutil.copy(ROOT / "params" / "ci.yaml", folder / "overlay.yaml")


@reader(1, sets(overlay=overlays))
def overlay(folder: Path) -> None:
    """An overlay applied to params.yaml."""
    from lh2face.params import overlay_params

    overlay_params([folder / "overlay.yaml"], folder / "params.yaml")


def model_folder(folder: Path) -> None:
    """An untrained model."""
    import torch

    from lh2face.artifacts.model import save_model
    from lh2face.registry import MODELS

    torch.manual_seed(0)
    backbone = {"type": "MobileFaceNet", "embedding_size": 8, "image_size": 32, "width": 0.1}
    config = {"type": "FaceRecognizer", "backbone": backbone}
    save_model(folder, MODELS.build(config), config, {})


@reader(5, sets(model=model_folder))
def model(folder: Path) -> None:
    """A model's folder."""
    from lh2face.artifacts.model import head_dim, load_model

    load_model(folder)
    head_dim(folder)


def onnx_file(folder: Path) -> None:
    """A small recognizer of another program."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = RNG.normal(size=(3 * 112 * 112 // 64, 4)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("MatMul", ["f", "W"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, 112, 112])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 4])],
        [numpy_helper.from_array(weights, "W")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 8
    onnx.save(made, folder / "a.onnx")


@reader(5, sets(onnx=onnx_file), memory=5 << 30)
def onnx_recognizer(folder: Path) -> None:
    """A recognition model of another program."""
    from lh2face.artifacts.thresholds import read_thresholds
    from lh2face.embedding.embedders import open_embedder

    read_thresholds(folder / "a.onnx")
    open_embedder(folder / "a.onnx")(np.zeros((2, 112, 112, 3), np.uint8))


def evaluation(folder: Path) -> None:
    """Write a model and beside it its evaluation: figures and draws of the bootstrap."""
    from lh2face.artifacts.model import model_digest

    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    measured = {
        "model": model_digest(folder / "model"),
        "data": {"meta": "0", "pairs": "1"},
        "params": {"seed": 0},
    }
    folder = folder / "evaluation" / "people"
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps(measured), encoding="utf-8")
    metrics = {
        "verification": {"tar": {"0.001": 0.5}},
        "reject": {"area": 0.1},
        "single_images": {"threshold": {"0.01": 0.3}, "impostor": 1000, "source": "synthetic"},
        "bins": {"photos": {"accuracy": 0.9}},
        "kappa": {"mean": 10.0, "std": 1.0, "p5": 8.0},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2), encoding="utf-8")
    rows = ["verification.tar.0.001,reject.area", *(f"0.{i},0.0{i}" for i in range(1, 9))]
    (folder / "draws.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


@reader(15, sets(evaluation=evaluation))
def comparison(folder: Path) -> None:
    """Two runs compared."""
    from lh2face.artifacts.evaluations import read_both
    from lh2face.evaluation.comparison import compare

    for runs in read_both(folder, folder).values():
        compare(*runs)


@reader(5, sets(evaluation=evaluation))
def thresholds(folder: Path) -> None:
    """Thresholds and κ of a model."""
    from lh2face.artifacts.thresholds import read_thresholds

    read_thresholds(folder / "model")


def features(folder: Path) -> None:
    """Embeddings of another program."""
    np.save(folder / "features.npy", RNG.normal(size=(12, 4)).astype(np.float32))


@reader(5, sets(npy=features))
def feature_file(folder: Path) -> None:
    """Features for evaluate-ijb."""
    from lh2face.tools.evaluate_ijb import read_features

    np.asarray(read_features(folder / "features.npy", 12)).sum()


def quality_file(folder: Path) -> None:
    """Qualities of three faces."""
    (folder / "quality.csv").write_text("name,score\na,1\nb,0.5\nc,2e-1\n", encoding="utf-8")


@reader(15, sets(csv=quality_file))
def quality(folder: Path) -> None:
    """Qualities for evaluate-ijb."""
    from lh2face.tools.evaluate_ijb import read_quality

    read_quality(folder / "quality.csv", ["a", "b", "c"])


def kept_embeddings(folder: Path) -> None:
    """Write the files that evaluate-ijb keeps in its folder."""
    from lh2face.embedding.kept import Record

    (folder / "metrics.json").write_text("{}", encoding="utf-8")
    made = {"model": "0", "faces": 3, "block": 512}
    Record(
        "lh2face evaluate-ijb", files=["metrics.json"], embeddings=made, blocks=[("0", "1", 0)]
    ).write(folder)


@reader(10, sets(record=kept_embeddings))
def progress_record(folder: Path) -> None:
    """The record of evaluate-ijb."""
    from lh2face.embedding.kept import claim

    claim(folder, ["metrics.json"], "lh2face evaluate-ijb")


def shards(folder: Path) -> None:
    """Embeddings of stage embed, in two parts."""
    for shard in "01":
        (folder / shard).mkdir()
        np.save(folder / shard / "embeddings.npy", RNG.normal(size=(4, 2, 3)).astype(np.float32))
        (folder / shard / "embedded_by.json").write_text(
            '{"model": "0", "vmf_dim": 3}', encoding="utf-8"
        )


@reader(10, sets(shards=shards))
def embeddings(folder: Path) -> None:
    """Embeddings for stage evaluate."""
    from lh2face.artifacts.embeddings import embedded_by, read_embeddings

    read_embeddings(folder).sum()
    embedded_by(folder)


def made_folder(folder: Path) -> None:
    """Write the provenance of an evaluation."""
    from lh2face.artifacts.provenance import provenance, write_provenance

    write_provenance(folder, provenance(params={"far": [0.1]}, data={"meta": "0"}, seed=1))


@reader(5, sets(provenance=made_folder))
def origin(folder: Path) -> None:
    """Read the provenance of a result."""
    from lh2face.artifacts.info import read_provenance

    read_provenance(folder / "provenance.json")


def fitted(folder: Path) -> None:
    """An untrained reconstructor, as stage fit3d writes it."""
    from safetensors.torch import save_file

    from lh2face.registry import build

    config = {"type": "Unsup3DReconstructor", "image_size": 16, "width": 1}
    save_file(
        build("reconstructor", config, "config").state_dict(),
        folder / "reconstructor.safetensors",
    )
    described = {"reconstructor": config, "image_size": 16, "provenance": {}}
    (folder / "model.json").write_text(json.dumps(described, indent=2), encoding="utf-8")


@reader(3, sets(fitted=fitted))
def reconstructor(folder: Path) -> None:
    """A fitted reconstructor."""
    from lh2face.artifacts.model import load_reconstructor

    load_reconstructor(folder)


def never_raises(check: Callable[[Path], object], path: Path) -> None:
    """Call a check that must return an answer for any damage."""
    try:
        check(path)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error


def last_file(folder: Path) -> None:
    """A checkpoint of one process."""
    import torch

    state = {"weight": torch.zeros(4, 4), "steps": torch.tensor(3)}
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, folder / "last.pth")


@reader(10, sets(file=last_file))
def checkpoint_file(folder: Path) -> None:
    """Whether a checkpoint of one process is whole."""
    from lh2face.training import LastCheckpointHook

    never_raises(LastCheckpointHook.is_whole, folder / "last.pth")


def last_folder(folder: Path) -> None:
    """A checkpoint of several processes."""
    import torch

    from lh2face.distributed.checkpoint import save

    model = torch.nn.Linear(3, 2)
    save(folder / "last.dcp", model, torch.optim.SGD(model.parameters(), 0.1), {"epoch": 1})


@reader(10, sets(folder=last_folder))
def checkpoint_folder(folder: Path) -> None:
    """Whether a checkpoint of several processes is whole."""
    from lh2face.distributed.checkpoint import is_whole

    never_raises(is_whole, folder / "last.dcp")


def training_folder(folder: Path) -> None:
    """Write the files that a training keeps in its working folder."""
    from lh2face.artifacts.training_record import record_row
    from lh2face.runs.work_folder import FINGERPRINT, write_whole

    write_whole(folder / FINGERPRINT, {"processes": 1, "data": {"train.rec": "0"}})
    for step in (10, 20, 30):
        record_row(folder / "training.csv", {"step": step, "loss": 1.5, "images_per_second": 99.0})


@reader(10, sets(work=training_folder))
def work_folder(folder: Path) -> None:
    """Open the working folder of a training that is resumed."""
    from lh2face.artifacts.training_record import drop_rows
    from lh2face.runs.work_folder import prepare_work_dir

    prepare_work_dir(folder, {"data": {"train.rec": "0"}}, 1)
    if (folder / "training.csv").exists():
        drop_rows(folder / "training.csv", 20)


def plan(folder: Path) -> None:
    """The plan of the small study."""
    shutil.copy(ROOT / "workflow" / "study" / "synthetic" / "ci.yaml", folder / "study.yaml")


@reader(2, sets(plan=plan))
def study_plan(folder: Path) -> None:
    """A plan of a study."""
    from workflow.study.synthetic.plan import load_plan

    load_plan(folder / "study.yaml")


def raw_faces(folder: Path) -> None:
    """Faces of two people for training, as stage data writes them."""
    from lh2face.data.training_sources import ImageFolder

    photos(folder / "photos")
    (folder / "raw" / "train").mkdir(parents=True)
    ImageFolder(str(folder / "photos"), aligned=True).write(folder / "raw" / "train", 1)
    shutil.rmtree(folder / "photos")


@reader(5, sets(raw=raw_faces))
def raw_train(folder: Path) -> None:
    """Faces for stage align."""
    from lh2face.stages.align import align_train

    out = folder.parent / "aligned"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    align_train(folder / "raw" / "train", out, 1)


def benchmark(folder: Path) -> None:
    """A benchmark of four people before alignment."""
    from lh2face.data.benchmarks.image_folder import ImageFolderBenchmark

    photos(folder / "photos", people=4)
    raw = folder / "raw" / "benchmark"
    raw.mkdir(parents=True)
    ImageFolderBenchmark(str(folder / "photos"), aligned=True).write(raw, 1)
    shutil.rmtree(folder / "photos")
    (raw / "pairs" / "photos.csv").write_text(
        "first,second,same\n" + "1.jpg,2.jpg,1\n1.jpg,3.jpg,0\n" * 5, encoding="utf-8"
    )
    depth = np.full((1, 16, 16), 1.0, np.float16)
    np.savez(raw / "truth.npz", index=np.array([0]), depth=depth, view=np.zeros((1, 6)))


def align(raw: Path, out: Path) -> None:
    """Align a benchmark."""
    from types import SimpleNamespace

    from lh2face.data.benchmarks.raw import open_folder
    from lh2face.stages import align_benchmark

    source = SimpleNamespace(path=str(raw), open=lambda raw: open_folder(raw, "photos"))
    params = SimpleNamespace(workers=1, benchmark=lambda name: source)
    align_benchmark.run(params, "it", raw, out)


@reader(5, sets(benchmark=benchmark))
def raw_benchmark(folder: Path) -> None:
    """A benchmark for stage align_benchmark."""
    out = folder.parent / "aligned"
    shutil.rmtree(out, ignore_errors=True)
    align(folder / "raw" / "benchmark", out)


def embedded(folder: Path) -> None:
    """An aligned benchmark, and embeddings of it."""
    benchmark(folder)
    align(folder / "raw" / "benchmark", folder / "aligned")
    shutil.rmtree(folder / "raw")
    (folder / "embeddings" / "0").mkdir(parents=True)
    values = RNG.normal(size=(8, 2, 4)).astype(np.float32)
    np.save(folder / "embeddings" / "0" / "embeddings.npy", values)


@reader(1, sets(embedded=embedded))
def evaluated(folder: Path) -> None:
    """Lists and embeddings for stage evaluate."""
    from lh2face.params import load_params
    from lh2face.stages.evaluate import run

    global PARAMS
    if PARAMS is None:
        found = load_params(ROOT / "params.yaml")
        changed = found.evaluate.model_copy(update={"bootstrap": 2})
        PARAMS = found.model_copy(update={"evaluate": changed})
    out = folder.parent / "evaluation"
    shutil.rmtree(out, ignore_errors=True)
    run(PARAMS, folder / "embeddings", folder / "aligned", out)


def photos(folder: Path, people: int = 2) -> None:
    """Two photos of each of a few people."""
    for person in range(people):
        for photo in range(2):
            path = folder / f"person{person}" / f"{photo}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture())


@reader(5, sets(photos=lambda folder: photos(folder, people=3)))
def image_folder(folder: Path) -> None:
    """Photos for stage data."""
    from lh2face.data.training_sources import ImageFolder

    out = folder.parent / "converted"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    ImageFolder(str(folder), aligned=True).write(out, 1)


def detector_file(folder: Path) -> None:
    """Write a detector with insightface's nine outputs, which finds nothing."""
    import onnx
    from onnx import TensorProto, helper

    outputs, nodes = [], []
    for name, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            label, rows = f"{name}{stride}", 2 * (640 // stride) ** 2
            shape = onnx.numpy_helper.from_array(np.array([rows, width]), f"shape_{label}")
            nodes.append(helper.make_node("Constant", [], [f"shape_{label}"], value=shape))
            nodes.append(helper.make_node("ConstantOfShape", [f"shape_{label}"], [label]))
            outputs.append(helper.make_tensor_value_info(label, TensorProto.FLOAT, [rows, width]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "detector", [image], outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / "detector.onnx")


@reader(3, sets(onnx=detector_file), memory=5 << 30)  # a graph may take 4 GiB
def detector(folder: Path) -> None:
    """A detection model of another program."""
    from lh2face.detection import open_insightface

    open_insightface(folder / "detector.onnx")(np.zeros((64, 64, 3), np.uint8))


def tables(folder: Path) -> None:
    """The tables of an evaluation, and the record of a training."""
    for name, content in {
        "roc": "far,tar\n0.1,0.5\n1,1\n",
        "cmc": "rank,rate\n1,0.5\n2,0.75\n",
        "reject": "rejected,fnmr,fnmr_at_far\n0,0.5,0.5\n0.5,0.25,0.3\n",
        "calibration": "predicted,observed\n0.1,0.2\n0.3,0.4\n",
        "kappa": "name,kappa\n1.jpg,10\n2.jpg,20\n",
        "pairs": "bin,first,second,same,score,kappa_first,kappa_second,right\n"
        "photos,1.jpg,2.jpg,1,0.5,10,20,1\nphotos,2.jpg,1.jpg,0,0.25,20,10,0\n",
        "model/training": "step,loss,images_per_second\n50,9.5,1200\n100,8.5,1300\n",
    }.items():
        (folder / f"{name}.csv").parent.mkdir(exist_ok=True)
        (folder / f"{name}.csv").write_text(content, encoding="utf-8")


@reader(3, sets(tables=tables))
def report(folder: Path) -> None:
    """Tables for the report."""
    from lh2face.report.benchmark import read_tables
    from lh2face.report.training import training_cost

    read_tables(folder)
    training_cost([folder], 64)
