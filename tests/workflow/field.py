"""Write small data of rendered people in usual formats: records, IJB, bins and a list of pairs.

    python tests/workflow/field.py OUT

The script writes the folders ``OUT/records`` (with ``lfw.bin`` and ``cfp_fp.bin``), ``OUT/IJBX``
and ``OUT/pairs``, a third-party model ``OUT/theirs.onnx``, and ``OUT/field.yaml``, an overlay with
the sizes of ``params/ci.yaml``.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from lh2face.adapters.insightface import export_onnx
from lh2face.artifacts.model import save_model
from lh2face.data.align import aligned_face
from lh2face.data.ijb_meta import read_meta, write_meta
from lh2face.data.images import encode_jpeg
from lh2face.data.synthetic.generate import SyntheticConfig, write_benchmark, write_train
from lh2face.data.verification_bin import write_bin
from lh2face.files.tables import PAIR_LIST, read_rows
from lh2face.params import read_yaml
from lh2face.params.overlays import merge
from lh2face.registry import MODELS
from lh2face.stages.align import align_train

ROOT = Path(__file__).resolve().parents[2]
SIZES = SyntheticConfig(
    train_people=16, images_per_person=6, benchmark_people=8, image_size=96, pairs=30
)
BACKBONE = {"type": "MobileFaceNet", "embedding_size": 32, "width": 0.25}
# The synthetic lists of pairs that take the places of the field's bins.
BINS = {"lfw": "frontal", "cfp_fp": "profile"}


def write_field(out: Path, workers: int = 2) -> Path:
    """Write the folders and return the path of the overlay."""
    with tempfile.TemporaryDirectory() as folder:
        raw, photos = Path(folder) / "train", Path(folder) / "benchmark"
        write_train(SIZES, raw, seed=0, workers=workers)
        write_benchmark(SIZES, photos, seed=0, workers=workers)
        records, ijb, pairs = (out / name for name in ("records", "IJBX", "pairs"))
        for made in (records, ijb, pairs):
            made.mkdir(parents=True)
        align_train(raw, records, workers)
        meta = read_meta(photos, "bench")
        write_meta(ijb, "ijbx", meta)
        shutil.copytree(photos / "loose_crop", ijb / "loose_crop")
        aligned = {
            name: encode_jpeg(aligned_face((ijb / "loose_crop" / name).read_bytes(), points, name))
            for name, points in zip(meta.names, meta.landmarks, strict=True)
        }
        for name, listed in BINS.items():
            rows = read_rows(photos / "pairs" / f"{listed}.csv", PAIR_LIST)
            faces = [aligned[row[side]] for row in rows for side in ("first", "second")]
            write_bin(records / f"{name}.bin", faces, [row["same"] for row in rows])
        shutil.copytree(photos / "loose_crop", pairs / "faces")
        points = zip(meta.names, meta.landmarks.reshape(-1, 10).tolist(), strict=True)
        lines = (f"faces/{name},{','.join(map(str, row))}\n" for name, row in points)
        (pairs / "landmarks.csv").write_text("".join(lines))
        rows = read_rows(photos / "pairs" / "cross_age.csv", PAIR_LIST)
        lines = (
            f"faces/{row['first']},faces/{row['second']},{int(row['same'])},{number % 5}\n"
            for number, row in enumerate(rows)
        )
        (pairs / "pairs_age.csv").write_text("first,second,same,fold\n" + "".join(lines))
    benchmarks = {
        "ijbx": {"type": "ijb", "path": f"{ijb}", "lists": "ijbx"},
        **{name: {"type": "bin", "path": f"{records / name}.bin"} for name in BINS},
        "age": {
            "type": "pairs", "path": f"{pairs}", "list": "pairs_age.csv",
            "landmarks": "landmarks.csv",
        },
    }  # fmt: skip
    for config in benchmarks.values():
        config["origin"] = "synthetic"
    with tempfile.TemporaryDirectory() as folder:
        backbone = {"type": "MobileFaceNet", "embedding_size": 32, "image_size": 112, "width": 0.25}
        config = {"type": "FaceRecognizer", "backbone": backbone}
        save_model(Path(folder), MODELS.build(config), config, {})
        export_onnx(Path(folder), out / "theirs.onnx")
    overlay = read_yaml(ROOT / "params" / "ci.yaml")
    models = overlay["compare"]["models"]
    more = {
        "sources": {"records": {"type": "records", "path": f"{records}", "origin": "synthetic"}},
        "benchmarks": benchmarks,
        "others": [{"name": "theirs", "path": f"{out / 'theirs.onnx'}"}],
        "compare": {"models": [*models, "theirs"], "benchmarks": list(benchmarks)},
        "fit3d": {"options": {"model.reconstructor.pose": "images"}},
    }
    merge(overlay, more)
    YAML().dump(overlay, out / "field.yaml")
    return out / "field.yaml"


if __name__ == "__main__":
    print(write_field(Path(sys.argv[1]).resolve()))
