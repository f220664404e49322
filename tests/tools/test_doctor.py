"""The doctor lists what is installed and what is missing, and fails if something required is."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from lh2face.cli import main
from lh2face.params import overlay_params
from lh2face.tools import doctor


def run(monkeypatch, capsys, folder) -> tuple[int, str]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["lh2face", "doctor"])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, capsys.readouterr().out


@pytest.fixture
def checkout(params_file) -> Path:
    """A folder with ``params.yaml`` and the code of the synthetic faces, which it names."""
    return params_file.parent


def test_a_complete_environment_passes(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    code, out = run(monkeypatch, capsys, tmp_path)
    assert code == 0 and "✗" not in out
    assert f"✓ torch: {metadata.version('torch')}" in out
    assert "– sbatch: missing" in out and "apt install slurm-wlm" in out
    assert "– params.yaml: none" in out
    assert "✓ memory: " in out and "✓ disk: " in out


def test_an_absent_optional_package_is_no_failure(monkeypatch, capsys, tmp_path):
    installed = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda n: None if n == "plotly" else installed(n))
    code, out = run(monkeypatch, capsys, tmp_path)
    assert code == 0 and "– pipeline: missing or too old: plotly" in out
    assert '→ pip install "lh2face[pipeline]"' in out and "✓ insightface" in out


def test_an_old_required_package_is_a_failure(monkeypatch, capsys, tmp_path):
    installed = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda n: "1.0" if n == "torch" else installed(n))
    code, out = run(monkeypatch, capsys, tmp_path)
    assert code == 1 and "✗ torch: 1.0" in out and 'pip install "torch>=' in out
    assert "Machine" not in out, "a problem that has to be solved first is shown alone"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("nonsense: 1\n", "nonsense: unknown key"),
        ("", "✗ sources.mine: records: nowhere does not exist\n   → set sources.mine.path"),
        ("", "✗ sources.photos.detector: insightface: nowhere does not exist"),
        ("", "✗ benchmarks.lfw: bin: nowhere does not exist\n   → set benchmarks.lfw.path"),
        ("", "✗ others.theirs: model: nowhere does not exist\n   → set others.theirs.path"),
    ],
)
def test_problems_of_parameters_and_their_folders_are_shown(
    monkeypatch, capsys, checkout, found, message
):
    overlay = checkout / "mine.yaml"
    overlay.write_text(
        "sources:\n  mine: {type: records, path: nowhere}\n"
        "  photos: {type: image_folder, path: nowhere,\n"
        "    detector: {type: insightface, path: nowhere}}\n"
        "benchmarks: {lfw: {type: bin, path: nowhere, file: lfw.bin}}\n"
        "others: [{name: theirs, path: nowhere}]\n"
        "compare:\n  benchmarks: [lfw]\n"
        "  models: [untrained, arcface, cosface, lh2face, lh2face_joint, theirs]\n"
    )
    overlay_params([overlay], checkout / "params.yaml")
    text = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(text + found)
    code, out = run(monkeypatch, capsys, checkout)
    assert code == 1 and message in out
    (checkout / "nowhere").mkdir()
    (checkout / "data" / "raw").mkdir(parents=True)
    (checkout / "params.yaml").write_text(text)
    code, out = run(monkeypatch, capsys, checkout)
    assert code == 0 and "✓ sources.mine: records: nowhere\n" in out
    assert "✓ data/raw: there" in out and "– data/aligned: not made yet" in out


def test_a_home_without_write_permission_is_reported(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    code, out = run(monkeypatch, capsys, tmp_path)
    assert code == 0 and "– home: cannot be written" in out and "export XDG_CACHE_HOME=" in out
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    assert "✓ home: can be written" in run(monkeypatch, capsys, tmp_path)[1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_checkout_without_git_is_reported(monkeypatch, capsys, checkout):
    (checkout / ".dvc").mkdir()
    code, out = run(monkeypatch, capsys, checkout)
    assert code == 0 and "– git: none in this folder" in out
    assert "dvc config --local core.no_scm true" in out
    (checkout / ".git").mkdir()
    assert "none in this folder" not in run(monkeypatch, capsys, checkout)[1]


def test_a_broken_package_is_distinguished_from_a_missing_one(monkeypatch, capsys, tmp_path):
    (tmp_path / "site" / "mxnet").mkdir(parents=True)
    broken = "raise AttributeError('numpy has no attribute bool')"
    (tmp_path / "site" / "mxnet" / "__init__.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path / "site")
    installed = doctor.installed
    versions = {"mxnet": "1.9.1", "torchvision": None}
    monkeypatch.setattr(doctor, "installed", lambda n: versions.get(n) or installed(n))
    code, out = run(monkeypatch, capsys, tmp_path)
    assert code == 0
    assert "– mxnet: 1.9.1, does not import: numpy has no attribute bool" in out
    assert "– torchvision: missing" in out
    assert out.count("not needed: `lh2face arcface-torch` replaces it") >= 2
