"""The commands of docs/how-to/fine-tune.md tune the model of a first training on other people."""

import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from lh2face.artifacts.model import read_description
from lh2face.cli import app
from lh2face.data.recordio import RecordReader, identity
from lh2face.data.training_sources import Synthetic
from lh2face.params import load_params
from lh2face.stages import align, train

ROOT = Path(__file__).resolve().parents[1]
PEOPLE, PHOTOS = 28, 3
SMALL = {
    "model.backbone": {"embedding_size": 16, "image_size": 32, "width": 0.25},
    "train_dataloader.batch_size": 12,
    "train_cfg.max_epochs": 2,
}


def command(line: str, **more: object) -> None:
    done = CliRunner().invoke(app, shlex.split(line.format(**more)), catch_exceptions=False)
    assert done.exit_code == 0, done.output


def photos_of(records: Path, folder: Path) -> None:
    """Write the faces of records as photos, ``folder/<identity>/*.jpg``."""
    reader = RecordReader(records / "train.rec")
    for key in range(1, PEOPLE * PHOTOS + 1):
        header, encoded = reader[key]
        person = folder / f"{int(identity(header, '')):02d}"
        person.mkdir(parents=True, exist_ok=True)
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(str(person / f"{key}.jpg"), image)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout, photos of people, and the model of a training on others."""
    (tmp_path / "plugin").symlink_to(ROOT / "plugin")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    Synthetic("plugin", people=PEOPLE, images_per_person=PHOTOS, image_size=64, seed=1).write(
        made := tmp_path / "made", 2
    )
    params = load_params()
    align.run(params, made, tmp_path / "faces")
    photos_of(tmp_path / "faces", tmp_path / "photos")
    first = params.train.model_copy(update={"options": SMALL})
    params = params.model_copy(update={"train": first})
    train.run(params, tmp_path / "faces", tmp_path / "first", head="cosface", seed=0)
    return tmp_path


def test_the_commands_of_the_page_tune_the_model_of_a_first_training(project):
    overlay = yaml.safe_load((ROOT / "params" / "finetune.yaml").read_text())
    for section in ("sources", "benchmarks", "validation"):
        for source in overlay[section].values():
            source["path"] = str(project / "photos")
    overlay["train"]["init"] = [{"path": str(project / "first")}]
    overlay["train"]["options"] = {**SMALL, "train_cfg.max_epochs": 3}
    overlay["workers"] = 1
    (project / "finetune.yaml").write_text(yaml.safe_dump(overlay))
    command("params finetune.yaml")
    command("data mine data/raw/sources/mine")
    command("align data/raw/sources/mine data/aligned/training/sources/mine")
    for name, where in (("mine", "benchmarks"), ("mine_too", "training/validation")):
        raw = f"data/raw/{where.removeprefix('training/')}/{name}"
        command("benchmark {name} {raw}", name=name, raw=raw)
        command("align-benchmark {name} {raw} data/aligned/{where}/{name}",
                name=name, raw=raw, where=where)  # fmt: skip
    command("weights {first} data/aligned/training/init", first=project / "first")
    command(
        "train --head lh2face --seed 0 --validation data/aligned/training/validation "
        "--init data/aligned/training/init data/aligned/training/sources runs/lh2face/0/model"
    )
    made = read_description(project / "runs" / "lh2face" / "0" / "model")["provenance"]
    assert made["init"]["path"] == str(project / "first")
    assert made["best"]["monitor"] == "mean/accuracy" and 0.5 <= made["best"]["value"] <= 1
    rows = (project / "runs/lh2face/0/model/validation.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 2
