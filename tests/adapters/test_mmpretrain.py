"""The config for mmpretrain, in the real mmpretrain: ``make test-mmpretrain``."""

import json
import math
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-mmpretrain" / "bin" / "python"


@pytest.mark.mmpretrain
def test_three_iterations_in_the_real_toolbox(tmp_path):
    if not PYTHON.exists():
        pytest.skip("needs mmpretrain's own environment: make test-mmpretrain")
    rng = np.random.default_rng(0)
    for person in range(3):
        (tmp_path / "faces" / str(person)).mkdir(parents=True)
        for i in range(4):
            image = rng.integers(0, 256, (112, 112, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "faces" / str(person) / f"{i}.png"), image)
    done = subprocess.run(
        [
            PYTHON,
            ROOT / "tests/adapters/mmpretrain/train.py",
            tmp_path / "faces",
            tmp_path / "work",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["head"] == "lh2face.heads.lh2face.LH2FaceHead"
    assert len(found["losses"]) == 3
    for losses in found["losses"]:
        assert {"loss", "loss_vmf"} <= losses.keys()
        assert all(math.isfinite(value) for value in losses.values())
