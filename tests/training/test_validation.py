"""Validation during training has the evaluation's figures, keeps a record and the best weights."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.runner import Runner
from safetensors.torch import load_file, save_file

from lh2face.artifacts.model import save_model
from lh2face.artifacts.training_record import VALIDATION, read_validations
from lh2face.data.benchmark import BenchmarkError
from lh2face.data.images import ImageError, decode_rgb
from lh2face.data.verification_bin import BinError, read_bin, write_bin
from lh2face.params import load_params
from lh2face.recognizers.preprocessor import normalize_images
from lh2face.registry import MODELS
from lh2face.stages import align_benchmark, embed, evaluate
from lh2face.tools.evaluate_bins import run as evaluate_bins
from lh2face.training import best_model
from lh2face.training.best_model import BEST, BestModelHook, kept_best, take_best
from lh2face.training.record import ValidationRecordHook
from lh2face.training.validation import PairFaces, ValidationError, VerificationAccuracy

ROOT = Path(__file__).resolve().parents[2]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory) -> Path:
    """The bin as an aligned benchmark, with a second list of pairs that has folds."""
    out = tmp_path_factory.mktemp("aligned") / "two_lists"
    params = load_params(ROOT / "params.yaml")
    benchmark = {"bin": {"type": "bin", "path": str(faces / "validation.bin")}}
    params = type(params).model_validate({**params.model_dump(), "validation": benchmark})
    (raw := out.with_name("raw")).mkdir()
    align_benchmark.run(params, "bin", raw, out)
    rng = np.random.default_rng(1)
    listed = [(4 * i, 4 * i + 1, 1, i % 3) for i in range(20)]
    listed += [(4 * i + 2, 4 * i + 3, 0, i % 3) for i in rng.permutation(20)]
    with (out / "pairs" / "folded.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second", "same", "fold"), *listed])
    return out


def test_each_face_of_a_bin_comes_once_and_pairs_refer_to_it(faces):
    path = faces / "validation.bin"
    images, same = read_bin(path)
    data = PairFaces([str(path)], image_size=112)
    ((name, pairs),) = data.metainfo["pairs"].items()
    assert name == "validation" and len(data) == len(set(images)) < len(images)
    assert pairs.same.tolist() == same.tolist() and pairs.fold is None
    for pair, (first, second) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        for row, encoded in ((first, images[2 * pair]), (second, images[2 * pair + 1])):
            found = data[int(row)]
            assert found["label"] == row
            expected = decode_rgb(encoded, 112, "")
            assert np.array_equal(found["inputs"].permute(1, 2, 0).numpy(), expected)


def test_lists_are_named_by_folder_and_list(faces, folder):
    both = PairFaces([str(faces / "validation.bin"), str(folder)], image_size=32)
    assert list(both.metainfo["pairs"]) == [
        "validation", "two_lists/folded", "two_lists/validation"
    ]  # fmt: skip
    assert both[len(both) - 1]["inputs"].shape == (3, 32, 32)
    alone, listed = (
        both.metainfo["pairs"]["validation"],
        both.metainfo["pairs"]["two_lists/validation"],
    )
    for one, other in zip(alone.first, listed.first, strict=True):
        assert torch.equal(both[int(one)]["inputs"], both[int(other)]["inputs"])
    assert both.metainfo["pairs"]["two_lists/folded"].fold.max() == 2


def some_model(config, path: Path, tmp_path: Path) -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(3)
    model = MODELS.build(config.model)
    faces = PairFaces([str(path)], 32)
    images = normalize_images(torch.stack([face["inputs"] for face in faces]))
    model.train()
    with torch.no_grad():
        for _ in range(60):  # without these batch statistics all directions are nearly the same
            model(images)
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", model, config.model.to_dict(), {})
    return model.eval(), tmp_path / "model"


def test_figures_equal_those_of_stage_evaluate(config, faces, folder, tmp_path):
    config.val_dataloader.dataset.paths = [str(folder), str(faces / "validation.bin")]
    config.val_evaluator.far = 0.1
    model, saved = some_model(config, faces / "validation.bin", tmp_path)
    runner = Runner.from_cfg(config)
    runner.model.load_state_dict(model.state_dict())
    found = runner.val()

    params = load_params(ROOT / "params.yaml")
    embed.run(params, saved, folder, tmp_path / "embeddings")
    evaluate.run(params, tmp_path / "embeddings", folder, tmp_path / "evaluation")
    bins = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["bins"]
    for name, figures in bins.items():
        assert found[f"two_lists/{name}/accuracy"] == figures["accuracy"]
        assert found[f"two_lists/{name}/tar"] == figures["tar"]["0.1"]
    assert 0.5 < bins["validation"]["accuracy"] < 1
    evaluate_bins([faces / "validation.bin"], saved, tmp_path / "bins.json")
    alone = json.loads((tmp_path / "bins.json").read_text())["bins"]["validation"]
    assert found["validation/accuracy"] == alone["accuracy"]
    mean = np.mean([figures["accuracy"] for figures in bins.values()])
    assert found["two_lists/accuracy"] == pytest.approx(mean)
    assert found["mean/accuracy"] == pytest.approx((mean + alone["accuracy"]) / 2)


def test_a_far_below_the_resolution_of_the_pairs_gives_no_tar(faces):
    data, metric = PairFaces([str(faces / "validation.bin")], 32), VerificationAccuracy(far=1e-3)
    metric.dataset_meta = data.metainfo
    metric.process({"label": torch.arange(len(data))}, list(torch.randn(len(data), 2, 4)))
    assert list(metric.evaluate(len(data))) == ["validation/accuracy", "mean/accuracy"]


def test_missing_and_non_finite_embeddings_are_refused(faces):
    data, metric = PairFaces([str(faces / "validation.bin")], 32), VerificationAccuracy()
    metric.dataset_meta = data.metainfo
    embeddings = torch.randn(len(data), 2, 4)
    metric.process({"label": torch.arange(1, len(data))}, list(embeddings[1:]))
    with pytest.raises(ValueError, match="finite"):
        metric.evaluate(len(data))
    embeddings[3] = torch.nan
    metric.process({"label": torch.arange(len(data))}, list(embeddings))
    with pytest.raises(ValueError, match="finite"):
        metric.evaluate(len(data))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda path: None, ValidationError, "no such file or folder"),
        (lambda path: path.write_bytes(b""), BinError, "it is empty"),
        (lambda path: path.write_bytes(b"\x80\x04N."), BinError, r"expected \(bins, issame\)"),
        (lambda path: path.mkdir(), ValueError, "benchmark.json"),
        (lambda path: write_bin(path, [b"x"] * 40, [True] * 20), BenchmarkError, "of two people"),
        (lambda path: write_bin(path, [b"x"] * 40, [False] * 20), BenchmarkError, "of one person"),
        (lambda path: write_bin(path, [b"x"] * 4, [True, False]), ImageError, "image 0"),
    ],
)
def test_unusable_validation_data_are_named_before_the_first_step(
    config, tmp_path, make, kind, message
):
    path = tmp_path / "lfw.bin"
    make(path)
    config.val_dataloader.dataset.paths = [str(path)]
    runner = Runner.from_cfg(config)
    with pytest.raises(kind, match=message) as raised:
        runner.train()
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    assert runner.iter == 0


def test_a_name_that_is_taken_is_refused(faces, tmp_path):
    path = str(faces / "validation.bin")
    with pytest.raises(ValidationError, match="the name validation is taken"):
        PairFaces([path, path])
    (tmp_path / "mean.bin").write_bytes(Path(path).read_bytes())
    with pytest.raises(ValidationError, match=r"mean\.bin: the name mean is taken"):
        PairFaces([str(tmp_path / "mean.bin")])
    with pytest.raises(ValidationError, match=r"PairFaces\.paths: .* found none"):
        PairFaces([])


def test_a_run_records_and_keeps_its_best(config, tmp_path, capsys):
    config.custom_hooks = [{"type": "BestModelHook", "monitor": "validation/accuracy"}]
    config.train_cfg.max_epochs = 4
    runner = Runner.from_cfg(config)
    states = []
    keep = runner.val_loop.run
    runner.val_loop.run = lambda: (keep(), states.append(clone(runner.model)))
    runner.train()
    work = tmp_path / "work"
    found = rows(work / VALIDATION)
    assert [(row["step"], row["name"]) for row in found] == [
        (step, name) for step in ("2", "4", "6", "8") for name in ("validation", "mean")
    ]
    accuracies = [float(row["accuracy"]) for row in found if row["name"] == "validation"]
    best = int(np.argmax(accuracies))
    assert kept_best(work) == {
        "step": 2 * (best + 1), "monitor": "validation/accuracy", "value": accuracies[best]
    }  # fmt: skip
    kept = load_file(work / BEST)
    assert not any(name.startswith("head.") for name in kept)
    model = MODELS.build(config.model)
    assert take_best(model, work) == kept_best(work)
    for name, value in model.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, states[best][name]), name
    assert "validation at step 2: validation/accuracy " in capsys.readouterr().out


def clone(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("killed_at", [3, 4, 5, 6])
def test_an_interruption_changes_neither_record_nor_best_weights(config, tmp_path, killed_at):
    """Validation runs at steps 3, 6 and 8 of 8; the run is killed after a checkpoint."""

    class Kill(Hook):
        priority = "LOWEST"

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == killed_at:
                raise KeyboardInterrupt

    config.custom_hooks = [{"type": "BestModelHook"}]
    config.train_cfg.update(max_epochs=4, val_interval=3)
    config.default_hooks.checkpoint.interval = 1
    Runner.from_cfg(config).train()
    whole = tmp_path / "work"
    assert [row["step"] for row in rows(whole / VALIDATION)] == ["3", "3", "6", "6", "8", "8"]
    config.work_dir, config.resume = str(tmp_path / "killed"), True
    config.experiment_name += "-killed"
    runner = Runner.from_cfg(config)
    runner.register_hook(Kill())
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    config.experiment_name += "-on"
    runner = Runner.from_cfg(config)
    runner.train()
    for name in (VALIDATION, BEST):
        assert (whole / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


def test_scalars_reach_the_visualizer(config, monkeypatch):
    runner = Runner.from_cfg(config)
    added = {}
    original = runner.visualizer.add_scalars

    def add(scalars, step=0, **more):
        added.update({(name, step): value for name, value in scalars.items()})
        original(scalars, step=step, **more)

    monkeypatch.setattr(runner.visualizer, "add_scalars", add)
    runner.train()
    assert {("val/validation/accuracy", 2), ("val/mean/accuracy", 4)} <= added.keys()


def of_work_dir(work: Path, step: int, *hooks):
    loop = SimpleNamespace(stop_training=False)
    return SimpleNamespace(
        work_dir=str(work), iter=step, hooks=hooks, train_loop=loop, _val_loop=loop,
        model=torch.nn.Linear(2, 2), visualizer=SimpleNamespace(add_scalars=lambda *_, **__: None),
        logger=SimpleNamespace(info=lambda message: None),
    )  # fmt: skip


def validate(runner, hook, step: int, accuracy: float, **more: float) -> None:
    runner.iter = step
    hook.after_val_epoch(runner, {"a/accuracy": accuracy, **more})


def test_a_resumed_run_writes_no_row_twice(tmp_path):
    hook = ValidationRecordHook()
    runner = of_work_dir(tmp_path, 0)
    hook.before_train(runner)
    for step in (10, 20, 30):
        validate(runner, hook, step, step / 70, **{"b/c/accuracy": 0.5, "b/c/tar": 1 / 3})
    runner.iter = 20
    hook = ValidationRecordHook()
    hook.before_train(runner)
    assert [row["step"] for row in rows(tmp_path / VALIDATION)] == ["10", "10", "20", "20"]
    validate(runner, hook, 30, 3 / 7, **{"b/c/accuracy": 0.5, "b/c/tar": 1 / 3})
    found = rows(tmp_path / VALIDATION)
    assert [row["step"] for row in found] == ["10", "10", "20", "20", "30", "30"]
    assert found[0] == {"step": "10", "name": "a", "accuracy": repr(1 / 7), "tar": "nan"}
    # A validation passes this to the hooks: "a" has no "tar".
    expected = {"a/accuracy": 2 / 7, "b/c/accuracy": 0.5, "b/c/tar": 1 / 3}
    assert read_validations(tmp_path / VALIDATION)[1] == expected


@pytest.mark.parametrize("torn", ["20,a,", '20,"a', '20,"' + 200_000 * "\0"])
def test_a_torn_row_is_dropped(tmp_path, torn):
    hook, runner = ValidationRecordHook(), of_work_dir(tmp_path, 0)
    hook.before_train(runner)
    validate(runner, hook, 10, 0.5)
    with (tmp_path / VALIDATION).open("a") as file:
        file.write(torn)
    runner.iter = 20
    hook.before_train(runner)
    assert [row["step"] for row in rows(tmp_path / VALIDATION)] == ["10"]


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb"])
def test_a_resumed_run_keeps_the_rows_of_any_name(tmp_path, name):
    hook, runner = ValidationRecordHook(), of_work_dir(tmp_path, 0)
    hook.before_train(runner)
    for step in (10, 20):
        validate(runner, hook, step, step / 70, **{f"{name}/accuracy": 0.5})
    before = (tmp_path / VALIDATION).read_bytes()
    hook.before_train(runner)
    assert (tmp_path / VALIDATION).read_bytes() == before
    assert read_validations(tmp_path / VALIDATION)[1][f"{name}/accuracy"] == 0.5


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
def test_an_early_stop_comes_at_the_same_step_after_an_interruption(tmp_path, interrupted_after):
    values = [0.7, 0.8, 0.75, 0.79, 0.9]

    def stopped_at(start: int, stop: int) -> int | None:
        early = EarlyStoppingHook(monitor="a/accuracy", patience=2)
        runner, hook = of_work_dir(tmp_path, 10 * start, early), ValidationRecordHook()
        hook.before_train(runner)
        for number in range(start, stop):
            validate(runner, hook, 10 * (number + 1), values[number])
            early.after_val_epoch(runner, {"a/accuracy": values[number]})
            if runner.train_loop.stop_training:
                return number
        return None

    assert stopped_at(0, interrupted_after) is None
    assert stopped_at(interrupted_after, 5) == 3


def test_a_resumed_run_that_had_stopped_early_stops_at_once(tmp_path):
    early, hook = EarlyStoppingHook(monitor="a/accuracy", patience=1), ValidationRecordHook()
    runner = of_work_dir(tmp_path, 0, early)
    hook.before_train(runner)
    for step, value in ((10, 0.7), (20, 0.6)):
        validate(runner, hook, step, value)
    runner = of_work_dir(tmp_path, 20, EarlyStoppingHook(monitor="a/accuracy", patience=1))
    ValidationRecordHook().before_train(runner)
    assert runner.train_loop.stop_training


def test_mmengines_early_stop_ends_a_run(config, tmp_path):
    config.custom_hooks = [
        {"type": "EarlyStoppingHook", "monitor": "mean/accuracy", "stopping_threshold": 0.0}
    ]
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.iter == 2 and len(rows(tmp_path / "work" / VALIDATION)) == 2


def test_the_best_weights_survive_an_interruption(tmp_path):
    hook, runner = BestModelHook("a/accuracy"), of_work_dir(tmp_path, 0)
    hook.before_train(runner)
    validate(runner, hook, 10, 0.7)
    (tmp_path / f"{BEST}.new").write_bytes(b"a kill left it")
    hook = BestModelHook("a/accuracy")
    hook.before_train(runner)
    validate(runner, hook, 20, 0.6)
    validate(runner, hook, 30, 0.7)
    assert kept_best(tmp_path) == {"step": 10, "monitor": "a/accuracy", "value": 0.7}
    validate(runner, hook, 40, 0.71)
    assert kept_best(tmp_path)["step"] == 40
    assert [path.name for path in tmp_path.iterdir()] == [BEST]


def test_a_kill_during_writing_leaves_the_previous_best_weights(tmp_path, monkeypatch):
    hook, runner = BestModelHook("a/accuracy"), of_work_dir(tmp_path, 0)
    hook.before_train(runner)
    validate(runner, hook, 10, 0.7)
    before = (tmp_path / BEST).read_bytes()

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(best_model, "sync", killed)
    with pytest.raises(KeyboardInterrupt):
        validate(runner, hook, 20, 0.8)
    assert (tmp_path / BEST).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_damaged_best_weights_are_removed(tmp_path, content, capsys):
    path = tmp_path / BEST
    if content is None:
        save_file({"weight": torch.ones(1)}, path)  # a file of another program
    else:
        path.write_bytes(content)
    hook, runner = BestModelHook("a/accuracy"), of_work_dir(tmp_path, 0)
    hook.before_train(runner)
    assert "damaged" in capsys.readouterr().out and not path.exists()
    validate(runner, hook, 10, 0.1)
    assert kept_best(tmp_path)["value"] == 0.1


def test_the_best_weights_need_a_validation_with_the_monitored_metric(config, tmp_path):
    config.custom_hooks = [{"type": "BestModelHook", "monitor": "lfw/accuracy"}]
    runner = Runner.from_cfg(config)
    with pytest.raises(
        ValidationError, match=r"monitor: found 'lfw/accuracy', allowed are validation/accuracy, "
    ):
        runner.train()
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.experiment_name += "-none"
    runner = Runner.from_cfg(config)
    with pytest.raises(ValidationError, match="expected a val_dataloader"):
        runner.train()
    assert runner.iter == 0
