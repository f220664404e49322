"""The readers that ``run.py`` feeds: how to make valid files for each, and how it is called."""

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
POINTS = "40 52 75 52 57 72 43 92 72 92"


@dataclass(frozen=True)
class Reader:
    """A reader of files that may come from anybody.

    Attributes:
        share: How many of the inputs it gets, relative to the others.
        samples: Writes valid files below a folder; yields one folder for each set of them.
        read: Reads the files of a folder.
    """

    share: int
    samples: Callable[[Path], Iterator[Path]]
    read: Callable[[Path], object]


READERS: dict[str, Reader] = {}


def reader(share: int, samples: Callable[[Path], Iterator[Path]]) -> Callable:
    """Register a function that reads the files of a folder."""

    def register(read: Callable[[Path], object]) -> Callable[[Path], object]:
        READERS[read.__name__] = Reader(share, samples, read)
        return read

    return register


def sets(**makers: Callable[[Path], None]) -> Callable[[Path], Iterator[Path]]:
    """Sets of files, each made by a function in a folder of its own."""

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
    (folder / "property").write_text("2,24,24")


def bare_records(folder: Path) -> None:
    """Without an index, as a file of another program may be."""
    records(folder, counts=False)
    (folder / "train.idx").unlink()


@reader(30, sets(counts=records, bare=bare_records))
def train_rec(folder: Path) -> None:
    """Records, index and property, as training reads them."""
    from lh2face.data.datasets import RecordFaces

    faces = RecordFaces(str(folder), image_size=24, mirror=0.0)
    for index in range(min(len(faces), 8)):
        faces[index]


def new_bin(folder: Path) -> None:
    """As this project writes it."""
    from lh2face.data.verification_bin import write_bin

    write_bin(folder / "a.bin", [picture() for _ in range(4)], [True, False])


def old_bin(folder: Path) -> None:
    """As old numpy wrote it."""
    arrays = [np.frombuffer(picture(), np.uint8) for _ in range(4)]
    raw = pickle.dumps((arrays, np.array([True, False])), protocol=2)
    (folder / "a.bin").write_bytes(raw.replace(b"numpy._core", b"numpy.core"))


@reader(40, sets(new=new_bin, old=old_bin))
def verification_bin(folder: Path) -> None:
    """A verification bin."""
    from lh2face.data.verification_bin import read_bin

    read_bin(folder / "a.bin")


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
    """Lists of IJB; read from one folder, so the lists stand beside each other."""
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
        (folder / name).write_text("\n".join(content) + "\n")


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
    (folder / "landmarks.csv").write_text("".join(f"{name}.jpg,{values}\n" for name in "abc"))


@reader(15, sets(csv=landmark_file))
def landmarks(folder: Path) -> None:
    """A landmark file."""
    from lh2face.data.image_folder import read_landmarks

    read_landmarks(folder / "landmarks.csv", folder)


def magface_files(folder: Path) -> None:
    """A list of MagFace and its pictures."""
    for name in "abc":
        (folder / f"{name}.jpg").write_bytes(picture())
    (folder / "list.txt").write_text("a.jpg 0 1\nb.jpg 0 1\nc.jpg 0 2\n")


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
    shutil.copy(ROOT / "params.yaml", folder)


@reader(3, sets(params=parameter_file))
def parameters(folder: Path) -> None:
    """params.yaml."""
    from lh2face.stages.params import load_params

    load_params(folder / "params.yaml")


def overlays(folder: Path) -> None:
    """An overlay beside the parameters."""
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copy(ROOT / "params" / "ci.yaml", folder / "overlay.yaml")


@reader(1, sets(overlay=overlays))
def overlay(folder: Path) -> None:
    """An overlay put over params.yaml."""
    from lh2face.stages.params import overlay_params

    overlay_params(folder / "overlay.yaml", folder / "params.yaml")


def model_folder(folder: Path) -> None:
    """An untrained model."""
    import torch

    from lh2face.artifacts.model import recognizer_config, save_model
    from lh2face.registry import MODELS

    torch.manual_seed(0)
    backbone = {"type": "MobileFaceNet", "embedding_size": 8, "width": 0.1}
    config = recognizer_config(backbone, 32)
    save_model(folder, MODELS.build(config), config, {})


@reader(5, sets(model=model_folder))
def model(folder: Path) -> None:
    """A model's folder."""
    from lh2face.artifacts.model import load_model

    load_model(folder)


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


@reader(5, sets(onnx=onnx_file))
def onnx_recognizer(folder: Path) -> None:
    """A recognition model of another program."""
    from lh2face.artifacts.calibration import read_calibration
    from lh2face.tools.embedders import open_embedder

    read_calibration(folder / "a.onnx")
    open_embedder(folder / "a.onnx")(np.zeros((2, 112, 112, 3), np.uint8))


def evaluation(folder: Path) -> None:
    """Figures of an evaluation, and the draws of its bootstrap."""
    metrics = {
        "verification": {"tar": {"0.001": 0.5}},
        "reject": {"area": 0.1},
        "single_images": {"threshold": {"0.01": 0.3}, "impostor": 1000, "source": "synthetic"},
        "bins": {"photos": {"accuracy": 0.9}},
        "kappa": {"mean": 10.0, "std": 1.0, "p5": 8.0},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2))
    rows = ["verification.tar.0.001,reject.area", *(f"0.{i},0.0{i}" for i in range(1, 9))]
    (folder / "draws.csv").write_text("\n".join(rows) + "\n")


@reader(15, sets(evaluation=evaluation))
def comparison(folder: Path) -> None:
    """Two runs compared."""
    from lh2face.artifacts.calibration import calibration, read_metrics
    from lh2face.stages.comparison import compare, read_run

    calibration(read_metrics(folder))
    run = read_run(folder)
    compare(run, run)


def features(folder: Path) -> None:
    """Embeddings of another program."""
    np.save(folder / "features.npy", RNG.normal(size=(12, 4)).astype(np.float32))


@reader(5, sets(npy=features))
def feature_file(folder: Path) -> None:
    """Features for evaluate-ijb."""
    from lh2face.tools.evaluate_ijb import read_features

    np.asarray(read_features(folder / "features.npy")).sum()
