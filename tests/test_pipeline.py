"""Both engines run the same DAG, and its first stages write what later ones expect."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from lh2face.data.benchmark import read_benchmark
from lh2face.data.manifest import read_manifest
from lh2face.params import load_params, overlay_params
from lh2face.stages import align, align_benchmark, benchmark, data

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


def test_without_validation_no_engine_has_validation_stages(tmp_path, params_file):
    for name in ("dvc.yaml", "Snakefile", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    overlay = tmp_path / "none.yaml"
    overlay.write_text("validation: {}\n")
    overlay_params([overlay], params_file)
    said = ""
    for command in (
        ["dvc", "init", "--no-scm", "--quiet"],
        ["dvc", "stage", "list", "--name-only"],
        ["snakemake", "--list-rules", "--cores", "1"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert "train@lh2face-0" in said and "train_lh2face_0" in said and "validation" not in said


@pytest.mark.parametrize("stage", ["fit3d", "train", "joint"])
def test_removing_a_source_makes_training_stale(stage):
    """The folder of a removed source stays, so the stages also have to watch the parameter."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    assert "sources" in stages[stage]["params"]


def test_snakemake_orders_the_stages_as_dvc_does():
    import networkx
    from dvc.repo import Repo

    graph = Repo(ROOT).index.graph
    edges = {(a.addressing, b.addressing) for a, b in networkx.transitive_closure(graph).edges}
    assert ("train@lh2face-0", "data@people") in edges
    # Training does not depend on benchmarks, so a change of them aligns no training face again.
    assert ("train@lh2face-0", "align_benchmark@people") not in edges
    assert ("joint@lh2face_joint-0", "align_benchmark@people") not in edges
    assert ("embed@lh2face-0-people-0", "align_benchmark@people") in edges
    for model in ("train@lh2face-0", "joint@lh2face_joint-0"):
        assert (model, "align_validation@strangers") in edges
    assert ("fit3d", "align_validation@strangers") not in edges
    assert ("joint@lh2face_joint-0", "fit3d") in edges
    assert ("train@lh2face-0", "fit3d") not in edges
    for stage in Repo(ROOT).index.stages:
        if stage.addressing != "report":
            assert ("report", stage.addressing) in edges


PARAMS = load_params(ROOT / "params.yaml")
SOURCE = PARAMS.sources["people"].model_copy(
    update={"people": 3, "images_per_person": 2, "image_size": 64, "seed": 3}
)
BENCHMARK = PARAMS.benchmarks["people"].model_copy(
    update={"people": 4, "image_size": 64, "pairs": 10, "truth_images": 4, "seed": 3}
)


def params_of(workers):
    """Return the repository's parameters with fewer people."""
    update = {"workers": workers, "sources": {"it": SOURCE}, "benchmarks": {"it": BENCHMARK}}
    return PARAMS.model_copy(update=update)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """A small synthetic source and benchmark, made once by one process and once by two."""
    folders = []
    for workers in (1, 2):
        out = tmp_path_factory.mktemp("raw")
        data.run(params_of(workers), "it", out / "train")
        benchmark.run(params_of(workers), "it", out / "benchmark")
        folders.append(out)
    return folders


def test_bytes_do_not_depend_on_the_number_of_workers(synthetic):
    one, two = synthetic
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) > 90
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


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


def test_the_benchmark_mixes_stills_and_video(synthetic):
    from lh2face.data.ijb_meta import read_meta

    meta = read_meta(synthetic[0] / "benchmark", "bench")
    frames = np.bincount(meta.media_ids)
    assert 1 in frames and 3 in frames
    subjects = [set(gallery.subject_ids) for gallery in meta.galleries.values()]
    assert not subjects[0] & subjects[1]
    assert subjects[0] | subjects[1] == set(meta.probes.subject_ids)


def test_aligned_eyes_are_where_the_template_has_them(synthetic, tmp_path):
    from lh2face.data.align import TEMPLATE, estimate_norm

    align.run(params_of(2), synthetic[0] / "train", tmp_path / "train")
    assert read_manifest(tmp_path / "train").aligned
    align_benchmark.run(params_of(2), "it", synthetic[0] / "benchmark", tmp_path / "benchmark")
    made = read_benchmark(tmp_path / "benchmark")
    assert set(made.pairs) == {"frontal", "profile", "low_quality", "cross_age"}
    assert made.templates.names == made.names and made.origin == "synthetic"
    truth = np.load(made.truth)
    assert truth["depth"].shape == (4, 112, 112)
    assert (np.abs(truth["depth"][truth["mask"]] - 1) < 0.3).all()
    landmarks = np.load(synthetic[0] / "train" / "landmarks.npy")
    for points in landmarks:
        matrix = estimate_norm(points)
        aligned = points @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(aligned[:2].mean(0) - TEMPLATE[:2].mean(0)).max() < 20


def test_a_corrupt_benchmark_image_is_named_and_no_output_is_left(synthetic, tmp_path):
    import shutil

    from lh2face.data.images import ImageError

    raw = shutil.copytree(synthetic[0] / "benchmark", tmp_path / "raw")
    (raw / "loose_crop" / "5.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"5\.jpg: the file is empty"):
        align_benchmark.run(params_of(1), "it", raw, tmp_path / "aligned" / "it")
    assert not (tmp_path / "aligned").exists()


def test_errors_of_stages_are_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text("nonsense: 1\n")
    result = subprocess.run(
        ["lh2face", "data", "people", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "nonsense" in result.stderr and "Traceback" not in result.stderr
