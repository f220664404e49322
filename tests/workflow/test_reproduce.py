"""``make reproduce`` shows its progress and a first picture, and can be interrupted."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import cv2
import numpy as np
import pytest

from lh2face.params import load_params, overlay_params

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow"))
import reproduce


class NoStages:
    """A repository without stages."""

    class index:  # noqa: N801  DVC's name
        stages = ()


def test_the_estimate_follows_the_last_stages():
    names = ["data@people", *(f"train@arcface-{seed}" for seed in range(10)), "report"]
    estimate = reproduce.Estimate(names)
    expected = sum(map(reproduce.weight, names))
    assert estimate.seconds_left() == expected
    assert estimate.line("data@people").startswith("stage 1 of 12: data@people, about ")
    estimate.finish("data@people", 2 * reproduce.weight("data"))
    rest = expected - reproduce.weight("data")
    assert estimate.seconds_left() == pytest.approx(2 * rest)
    for seed in range(reproduce.RECENT):  # the machine becomes faster
        estimate.finish(f"train@arcface-{seed}", reproduce.weight("train") / 2)
    rest -= reproduce.RECENT * reproduce.weight("train")
    assert estimate.seconds_left() == pytest.approx(rest / 2)
    assert estimate.line("x").startswith("stage 6 of 12: ")


def test_a_skipped_stage_does_not_change_the_estimate():
    estimate = reproduce.Estimate(["fit3d", "depth"])
    estimate.finish("fit3d")
    estimate.finish("", 3.0)  # before the first stage
    estimate.finish("elsewhere", 3.0)
    assert estimate.seconds_left() == reproduce.weight("depth")


def test_every_stage_of_the_pipeline_has_a_weight():
    import yaml

    stages = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text("utf-8"))["stages"]
    assert reproduce.SECONDS.keys() <= stages.keys()
    assert stages.keys() - reproduce.SECONDS.keys() <= {"other", "weights"}


def test_the_first_picture_has_a_row_per_face(tmp_path):
    faces = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    arrays = dict.fromkeys(("input", "canonical", "normals", "re-rendered"), faces)
    turned = np.repeat(faces[:, None], 13, axis=1)
    np.savez(tmp_path / "samples.npz", depth=faces[..., 0], turned=turned, **arrays)
    reproduce.first_look(tmp_path / "samples.npz", tmp_path / "look.png")
    picture = cv2.imread(str(tmp_path / "look.png"))[..., ::-1]
    assert picture.shape == (24, 8 * (5 + 3), 3)
    np.testing.assert_array_equal(picture[:8, :8], faces[0])
    assert (picture[:8, 16:24] == faces[0, :, :, :1]).all()


def test_a_line_is_printed_before_each_stage(tmp_path, monkeypatch, capfd):
    """A stand-in prints the lines of DVC."""
    (tmp_path / "dvc.py").write_text(
        "import sys\n"
        "print(\"Stage 'data@people' didn't change, skipping\")\n"
        "print(\"Running stage 'fit3d':\\n> x\")\n"
        "print('Updating lock file\\n\\nTo track the changes with git, run:\\n')\n"
        "print('\\tgit add dvc.lock')\n"
        "print('Use `dvc push` to send your updates to remote storage.')\n"
        "sys.exit(3 if 'bad' in sys.argv else 0)\n"
    )
    estimate = reproduce.Estimate(["data@people", "fit3d"])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    reproduce.repro([], estimate)
    assert capfd.readouterr().out.splitlines() == [
        "Stage 'data@people' didn't change, skipping",
        "stage 2 of 2: fit3d, about 0:40 left",
        "> x",
    ]
    assert not estimate.left
    with pytest.raises(SystemExit, match="3"):
        reproduce.repro(["bad"], estimate)


def test_an_interruption_waits_for_the_stage_and_says_how_to_go_on(tmp_path):
    """Ctrl-C sends SIGINT to all processes of the terminal; a stand-in of DVC ends its stage."""
    (tmp_path / "dvc.py").write_text(
        "import pathlib, signal, time\n"
        "try:\n    print(\"Running stage 'fit3d':\", flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(1)\n    pathlib.Path('ended').touch()\n"
    )
    script = f"import sys; sys.path.insert(0, {reproduce.__file__.rpartition('/')[0]!r})\n"
    script += "import reproduce; reproduce.repro([], reproduce.Estimate(['fit3d']))"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, start_new_session=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, stdout=PIPE, stderr=PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stdout.readline().startswith("stage 1 of 1: fit3d")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert errors == "\nInterrupted; the same command goes on from here\n"
    assert process.returncode == 130 and (tmp_path / "ended").exists()


def test_seeds_do_not_replace_an_overlay(params_file, monkeypatch, capsys):
    (mine := params_file.with_name("mine.yaml")).write_text("evaluate: {bootstrap: 20}\n")
    overlay_params([mine], params_file)
    before = params_file.read_text()
    monkeypatch.chdir(params_file.parent)
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--seeds", "2"])
    with pytest.raises(SystemExit, match="2"):
        reproduce.main()
    assert "--seeds: params.yaml already has an overlay; set " in capsys.readouterr().err
    assert params_file.read_text() == before


def test_seeds_replace_other_seeds(params_file, monkeypatch):
    monkeypatch.chdir(params_file.parent)
    monkeypatch.setattr(reproduce, "repro", lambda *_: None)
    monkeypatch.setattr("dvc.repo.Repo", lambda: contextlib.nullcontext(NoStages))
    for seeds in (3, 2):
        monkeypatch.setattr(sys, "argv", ["reproduce.py", "--seeds", f"{seeds}"])
        reproduce.main()
        assert load_params(params_file).compare.seeds == list(range(seeds))
