import shutil
from pathlib import Path

import pytest

from lh2face.stages.params import ParamsError, load_params, overlay_params

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def params_file(tmp_path):
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def test_the_projects_own_parameters_are_valid():
    load_params(ROOT / "params.yaml")


# The plans of the study are no overlays.
OVERLAYS = {path.name for path in (ROOT / "params").iterdir()} - {"study.yaml", "study_ci.yaml"}


@pytest.mark.parametrize("overlay", sorted(OVERLAYS))
def test_overlays_are_valid_and_keep_comments(params_file, overlay):
    overlay_params(ROOT / "params" / overlay, params_file)
    assert "# Every knob" in params_file.read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  batch_size: 64", "  batchsize: 64", "train.batchsize: unknown key"),
        ("  epochs: 6", "  epochs: many", r"train.epochs.*found 'many'"),
        ("  epochs: 6", "  epochs: 0", r"train.epochs.*found 0"),
        ("source: synthetic", "source: internet", r"data.source.*'image_folder'"),
        (
            "scale: 30.0, margin: 0.3}",
            "scale: 30.0, marign: 0.3}",
            r"heads.arcface.marign: unknown",
        ),
        ("type: CosFaceHead", "type: CosFase", r"heads.cosface.type: found 'CosFase'"),
        ("heads: [arcface,", "heads: [arkface,", "compare"),
        (
            "    train_people: 160",
            "    train_peeple: 160",
            "data.synthetic.train_peeple: unknown key",
        ),
        ("seeds: [0, 1, 2]", "seeds: [0, 1", "not valid YAML"),
    ],
)
def test_bad_parameters_are_named(params_file, old, new, message):
    text = params_file.read_text()
    assert old in text
    params_file.write_text(text.replace(old, new))
    with pytest.raises(ParamsError, match=message):
        load_params(params_file)


def test_a_bad_overlay_changes_nothing(params_file, tmp_path):
    (tmp_path / "bad.yaml").write_text("train: {epochs: -1}")
    before = params_file.read_text()
    with pytest.raises(ParamsError, match=r"train\.epochs"):
        overlay_params(tmp_path / "bad.yaml", params_file)
    assert params_file.read_text() == before


def test_missing_parameters_are_named(tmp_path):
    with pytest.raises(ParamsError, match="not found"):
        load_params(tmp_path / "params.yaml")
