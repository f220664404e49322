"""The two engines see one DAG, and stages do what the DAG says."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_snakemake_and_dvc_have_the_same_dag():
    from dvc.repo import Repo

    stages = list(Repo(ROOT).index.stages)
    expected = {stage.addressing for stage in stages}
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--list-rules", "--cores", "1"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rules = {line.strip() for line in result.stdout.splitlines()} - {"all", ""}
    renamed = {name.replace("@", "_").replace("-", "_").replace(".", "_") for name in expected}
    assert renamed <= rules


def test_snakemake_orders_the_stages_as_dvc_does():
    import networkx
    from dvc.repo import Repo

    graph = Repo(ROOT).index.graph
    edges = {(a.addressing, b.addressing) for a, b in networkx.transitive_closure(graph).edges}
    assert ("train@lh2face-0", "data") in edges
    assert ("joint@lh2face_joint-0", "fit3d") in edges
    assert ("train@lh2face-0", "fit3d") not in edges
    for stage in Repo(ROOT).index.stages:
        if stage.addressing != "report":
            assert ("report", stage.addressing) in edges


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """A small synthetic data set, made by one process and by two."""
    from lh2face.data.synthetic import SyntheticConfig
    from lh2face.stages import data

    config = SyntheticConfig(
        train_people=3, images_per_person=2, benchmark_people=4, image_size=64, pairs=10,
        truth_images=4,
    )  # fmt: skip
    folders = []
    for workers in (1, 2):
        section = SimpleNamespace(model_dump=lambda: dataclasses.asdict(config))
        source = SimpleNamespace(
            source="synthetic", source_of_benchmark="synthetic", seed=3, synthetic=section
        )
        out = tmp_path_factory.mktemp("raw") / "raw"
        data.run(SimpleNamespace(workers=workers, data=source), out)
        folders.append(out)
    return folders


def test_same_bytes_whatever_the_number_of_workers(synthetic):
    one, two = synthetic
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) > 90
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


def test_train_and_benchmark_of_different_sources(synthetic, tmp_path):
    from lh2face.stages import data
    from lh2face.stages.params import load_params

    photos = tmp_path / "photos"
    for person, path in enumerate(sorted((synthetic[0] / "benchmark" / "loose_crop").iterdir())):
        (photos / str(person % 4)).mkdir(parents=True, exist_ok=True)
        (photos / str(person % 4) / path.name).write_bytes(path.read_bytes())
    params = load_params(ROOT / "params.yaml").model_copy(deep=True)
    sizes = params.data.synthetic.model_copy(
        update={"train_people": 3, "images_per_person": 2, "image_size": 64}
    )
    section = params.data.model_copy(
        update={
            "seed": 3,
            "benchmark_source": "image_folder",
            "synthetic": sizes,
            "image_folder": params.data.image_folder.model_copy(update={"root": str(photos)}),
        }
    )
    data.run(params.model_copy(update={"data": section}), tmp_path / "raw")
    # The training faces are those of a wholly synthetic run, the benchmark is the photos.
    made, alone = tmp_path / "raw" / "train" / "train.rec", synthetic[0] / "train" / "train.rec"
    assert made.read_bytes() == alone.read_bytes()
    assert len(list((tmp_path / "raw" / "benchmark" / "loose_crop").iterdir())) == len(
        list((synthetic[0] / "benchmark" / "loose_crop").iterdir())
    )


def test_synthetic_landmarks_lie_on_the_face(synthetic):
    from lh2face.data.ijb_meta import read_meta

    meta = read_meta(synthetic[0] / "benchmark", "bench")
    truth = np.load(synthetic[0] / "benchmark" / "truth.npz")
    for row, depth in zip(truth["index"], truth["depth"].astype(np.float32), strict=True):
        points = meta.landmarks[row].round().astype(int)
        near = [np.isfinite(depth[y - 1 : y + 2, x - 1 : x + 2]).any() for x, y in points]
        assert all(near)
        # The nose comes nearest to the camera.
        x, y = points[2]
        assert depth[y, x] - np.nanmin(depth) < 0.02


def test_benchmark_mixes_stills_and_video(synthetic):
    from lh2face.data.ijb_meta import read_meta

    meta = read_meta(synthetic[0] / "benchmark", "bench")
    frames = np.bincount(meta.media_ids)
    assert 1 in frames and 3 in frames
    subjects = [set(gallery.subject_ids) for gallery in meta.galleries.values()]
    assert not subjects[0] & subjects[1]
    assert subjects[0] | subjects[1] == set(meta.probes.subject_ids)


def test_aligned_eyes_are_where_the_template_has_them(synthetic, tmp_path):
    from lh2face.data.align import TEMPLATE, estimate_norm
    from lh2face.stages import align

    align.run(SimpleNamespace(workers=2), synthetic[0], tmp_path / "aligned")
    assert (tmp_path / "aligned" / "benchmark" / "bins" / "profile.bin").exists()
    truth = np.load(tmp_path / "aligned" / "benchmark" / "truth.npz")
    assert truth["depth"].shape == (4, 112, 112)
    assert (np.abs(truth["depth"][truth["mask"]] - 1) < 0.3).all()
    landmarks = np.load(synthetic[0] / "train" / "landmarks.npy")
    for points in landmarks:
        matrix = estimate_norm(points)
        aligned = points @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(aligned[:2].mean(0) - TEMPLATE[:2].mean(0)).max() < 20


def test_a_corrupt_benchmark_image_is_named_and_leaves_nothing(synthetic, tmp_path):
    import shutil

    from lh2face.data.images import ImageError
    from lh2face.stages import align

    raw = shutil.copytree(synthetic[0], tmp_path / "raw")
    (raw / "benchmark" / "loose_crop" / "5.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"5\.jpg: the file is empty"):
        align.run(SimpleNamespace(workers=1), raw, tmp_path / "aligned")
    assert not list((tmp_path / "aligned").iterdir())


def test_command_line_errors_are_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text("nonsense: 1\n")
    result = subprocess.run(
        ["lh2face", "data", "out"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "nonsense" in result.stderr and "Traceback" not in result.stderr
