"""Options change a recipe, and a recipe that cannot be trained is refused before anything runs."""

import copy
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from lh2face.registry import MODELS
from lh2face.training.recipe import RecipeError, deciding_settings, load_recipe
from lh2face.training.recipe_checks import check_recipe, check_reconstruction

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "plugin" / "lh2face" / "configs"
SMALL = CONFIGS / "small.py"
HEADS = {"heads.lh2face": {"type": "LH2FaceHead", "vmf_dim": 64}}


@pytest.mark.parametrize(
    "path", sorted(set(CONFIGS.rglob("*.py")) - set(CONFIGS.glob("__init__.py"))), ids=str
)
def test_the_shipped_recipes_can_be_built(path):
    if path.name == "mmpretrain.py":
        pytest.skip("that of another toolbox")
    recipe = load_recipe(path, {})
    if recipe.model.type == "ReconstructorTrainer":
        check_reconstruction(recipe)
    else:
        check_recipe(recipe, HEADS)


@pytest.mark.parametrize("backbone", ["MobileFaceNet", "IResNet", "VisionTransformer"])
@pytest.mark.parametrize(
    ("name", "flat"), [("small.py", 0), ("finetune.py", 0), ("arcface_torch/ms1mv3_r50.py", 5e-4)]
)
def test_vectors_decay_in_the_recipes_of_arcface_torch_alone(name, flat, backbone):
    """Vectors are norms, biases and slopes of PReLU; arcface_torch decays all parameters."""
    found, model = groups(name, backbone)
    for name, weight in model.named_parameters():
        assert found[id(weight)]["weight_decay"] == (flat if weight.ndim == 1 else 5e-4), name


def test_fine_tuning_has_a_tenth_of_the_rate_in_the_backbone():
    found, model = groups("finetune.py", "IResNet")
    rates = {name: found[id(weight)]["lr"] for name, weight in model.named_parameters()}
    assert {rate for name, rate in rates.items() if name.startswith("backbone.")} == {0.005}
    assert {rate for name, rate in rates.items() if name.startswith("head.")} == {0.05}


def groups(name, backbone):
    """The group of the optimizer that each weight is in, by its identity, and the model."""
    replaced = {"_delete_": True, "type": backbone, "image_size": 112, "embedding_size": 8}
    config = load_recipe(CONFIGS / name, {"model.backbone": replaced})
    with torch.device("meta"):
        model = MODELS.build({**config.model, "head": {**HEADS["heads.lh2face"], "num_classes": 3}})
    wrapper = {**config.optim_wrapper, "type": "OptimWrapper"}
    wrapper.pop("dtype", None)
    made = build_optim_wrapper(model, wrapper).param_groups
    return {id(weight): group for group in made for weight in group["params"]}, model


def test_options_replace_values_of_the_config_by_dotted_or_nested_keys():
    dotted = load_recipe(SMALL, {"train_cfg.max_epochs": 9, "optim_wrapper.optimizer.lr": 0.5})
    nested = {"train_cfg": {"max_epochs": 9}, "optim_wrapper": {"optimizer": {"lr": 0.5}}}
    assert dotted.to_dict() == load_recipe(SMALL, nested).to_dict()
    expected = Config.fromfile(SMALL).to_dict()
    expected["train_cfg"]["max_epochs"], expected["optim_wrapper"]["optimizer"]["lr"] = 9, 0.5
    assert dotted.to_dict() == expected
    listed = load_recipe(SMALL, {"param_scheduler.0.end": 2})
    assert listed.param_scheduler[0].end == 2
    whole = {"model.backbone": {"_delete_": True, "type": "IResNet", "depth": 18}}
    assert load_recipe(SMALL, whole).model.backbone == {"type": "IResNet", "depth": 18}


# Each is an option and the beginning of the message.
PIPELINE = "train_dataloader.dataset.pipeline"
REFUSED = [
    (
        {PIPELINE: [{"type": "RandomMirrow"}]},
        r"train_dataloader\.dataset\.pipeline\.0\.type: found 'RandomMirrow'.* RandomMirror",
    ),
    (
        {PIPELINE: [{"type": "RandomMirror"}, {"type": "RandomBlur", "probability": 1.5}]},
        r"train_dataloader\.dataset\.pipeline\.1: .*probability: .* from 0 to 1, found 1\.5",
    ),
    ({"model.backbone.image_size": 40}, r"model: .*multiple of 16.* found 40"),
    ({"model.backbone.image_size": "48"}, r"model\.backbone\.image_size: expected int, found '48'"),
    ({"model.backbone.embedding_size": 0}, r"model\.backbone: 32 px: "),
    ({"model.backbone.widht": 0.5}, r"model\.backbone\.widht: unknown; MobileFaceNet allows"),
    ({"model.backbone": {"type": "CosFaceHead"}}, r"model\.backbone\.type: found 'CosFaceHead'"),
    ({"model.fusion": "canonical"}, r"model: .*needs a reconstructor"),
    ({"model": 3}, r"model: expected a mapping, found 3"),
    ({"train_dataloader": None}, r"train_dataloader: expected a mapping, found None"),
    ({"train_dataloader.batch_size": 0}, r"train_dataloader\.batch_size: .* ≥ 1, found 0"),
    ({"train_dataloader.batch_size": "64"}, r"train_dataloader\.batch_size: .*found '64'"),
    ({"train_dataloader.num_worker": 0}, r"train_dataloader: .*'num_worker'"),
    ({"train_dataloader.sampler.type": "X"}, r"train_dataloader: .*X is not in"),
    ({"train_dataloader.dataset.mirrow": 0}, r"train_dataloader\.dataset\.mirrow: unknown"),
    ({"train_dataloader.dataset.type": "X"}, r"train_dataloader\.dataset\.type: found 'X'"),
    ({"optim_wrapper.optimizer": None}, r"optim_wrapper\.optimizer\.type: missing"),
    ({"optim_wrapper.optimizer.type": "SGDD"}, r"optim_wrapper\.optimizer\.type: found 'SGDD'"),
    ({"optim_wrapper.optimizer.momentun": 0.9}, r"optim_wrapper\.optimizer\.momentun: unknown"),
    ({"optim_wrapper.optimizer.lr": "0.1"}, r"optim_wrapper\.optimizer\.lr: .*found '0\.1'"),
    ({"optim_wrapper.optimizer.lr": -1.0}, r"optim_wrapper: .*learning rate: -1"),
    ({"optim_wrapper.accumulative_counts": 0}, r"optim_wrapper: .*_accumulative_counts"),
    ({"optim_wrapper.clip_grad.max_nrom": 1}, r"optim_wrapper\.clip_grad\.max_nrom: unknown"),
    ({"optim_wrapper.paramwise_cfg.norm": 1}, r"optim_wrapper\.paramwise_cfg: found \['norm'\]"),
    ({"param_scheduler.0.end": 7}, r"param_scheduler\.0\.end: .*max_epochs, 6, found 7"),
    ({"param_scheduler.0.end": "x"}, r"param_scheduler\.0\.end: .*found 'x'"),
    ({"param_scheduler.0.ende": 1}, r"param_scheduler\.0, with 1000 steps per epoch: .*'ende'"),
    (
        {"param_scheduler.0.type": "X"},
        r"param_scheduler\.0, with 1000 steps per epoch: .*X is not in",
    ),
    ({"param_scheduler.5.end": 1}, r"options: .*Index 5"),
    ({"train_cfg.max_epochs": 0}, r"train_cfg\.max_epochs: .* ≥ 1, found 0"),
    ({"train_cfg.max_epochs": "six"}, r"train_cfg\.max_epochs: .*found 'six'"),
    ({"train_cfg.max_epoch": 3}, r"train_cfg\.max_epoch: unknown"),
    ({"default_hooks.logger.interval": "x"}, r"default_hooks\.logger\.interval: .* int, found"),
    ({"default_hooks.logger.intervall": 3}, r"default_hooks\.logger\.intervall: unknown"),
    ({"custom_hooks": [{"type": "X"}]}, r"custom_hooks\.0\.type: found 'X'"),
    ({"custom_hooks": [{"typ": "X"}]}, r"custom_hooks\.0: expected a mapping with a type"),
    ({"visualizer.vis_backends": [{"type": "X"}]}, r"visualizer\.vis_backends\.0\.type: found"),
    ({"visualizer.type": "X"}, r"visualizer\.type: found 'X'"),
    ({"val_cfg": {"x": 1}}, r"val_cfg\.x: unknown"),
    ({"val_evaluator": {"type": "X"}}, r"val_evaluator\.type: found 'X'"),
    ({"randomness.deterministic": "yes"}, r"randomness\.deterministic: expected bool"),
    ({"custom_hook": []}, r"options: found 'custom_hook'.*; perhaps custom_hooks"),
    ({"": 1}, r"options: found ''"),
    # The pipeline sets these values, so they cannot be options.
    ({"randomness.seed": 3}, r"options: randomness\.seed: the pipeline sets it"),
    ({"model.head.type": "CosFaceHead"}, r"options: model\.head\.type: the pipeline sets it"),
    ({"train_dataloader.dataset.root": "x"}, r"options: train_dataloader\.dataset\.root: the"),
    ({"load_from": "x.pth"}, r"options: load_from: the pipeline sets it"),
    ({"resume": True}, r"options: resume: the pipeline sets it"),
    # Options are data; only the config file is code.
    ({"custom_imports": {"imports": ["os"]}}, r"options\.custom_imports: allowed in the config"),
    ({"custom_hooks": [{"type": "os.system"}]}, r"options\.custom_hooks\.0\.type: .*'os\.system'"),
    ({"train_dataloader.collate_fn.type": "os.system"}, r"options\..*\.type: .*'os\.system'"),
    ({"optim_wrapper.constructor": "os.system"}, r"options\..*\.constructor: .*'os\.system'"),
    ({"model.backbone._scope_": "os"}, r"options\.model\.backbone\._scope_: allowed in the config"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda v: str(v)[:50])
def test_an_option_that_cannot_be_trained_is_named(options, message):
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        check_recipe(load_recipe(SMALL, options), HEADS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"type": "CosFaceHead", "scale": "thirty"}, r"heads\.x\.scale: expected float"),
        ({"type": "CosFaceHead", "margin": 3.5}, r"heads\.x: .* from 0 to 2, found 3\.5"),
        ({"type": "MobileFaceNet"}, r"heads\.x\.type: found 'MobileFaceNet'"),
        (
            {"type": "ShardedHead", "head": {"type": "LH2FaceHead", "vmf_dimm": 3}},
            r"heads\.x\.head\.vmf_dimm: unknown",
        ),
    ],
)
def test_a_head_that_cannot_be_built_is_named(head, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        check_recipe(load_recipe(SMALL, {}), {"heads.x": head})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"config: .*: no such file"),
        ("model = (", r"config: .*"),
        ("1 / 0", r"config: .*division"),
        ("_base_ = 'nowhere.py'", r"config: .*nowhere"),
        ("x = 1", r"model: expected a mapping, found None"),
        (f"_base_ = {str(SMALL)!r}\nparam_schedulers = []", r"param_schedulers: unknown; perhaps"),
        ("_base_ = 'other.py'", r"config: .*does not see changes of its _base_ other\.py"),
        (
            "from mmengine.config import read_base\nwith read_base():\n    from .a import *",
            r"config: .*does not see changes of configs that are imported",
        ),
        (f"_base_ = {str(SMALL)!r}\nload_from = 'a.pth'", r"load_from: use train\.init"),
    ],
)
def test_a_config_that_cannot_be_used_is_named(tmp_path, text, message):
    path = tmp_path / "mine.py"
    (tmp_path / "other.py").write_text("x = 1")
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match=f"^{message}"):
        check_recipe(load_recipe(path, {}), HEADS)


def test_checking_needs_no_memory_and_draws_no_random_numbers():
    state = torch.get_rng_state()
    options = {"model.backbone": {"_delete_": True, "type": "IResNet", "depth": 200}}
    options["model.backbone"] |= {"embedding_size": 1 << 20, "image_size": 1024}
    config = load_recipe(SMALL, options)
    before = copy.deepcopy(config.to_dict())
    check_recipe(config, HEADS)
    assert torch.equal(torch.get_rng_state(), state) and config.to_dict() == before


def test_embeddings_of_a_wrong_size_are_refused(monkeypatch):
    backbone = MODELS.get("MobileFaceNet")
    forward = backbone.forward
    monkeypatch.setattr(backbone, "forward", lambda self, x: forward(self, x)[:, 1:])
    with pytest.raises(RecipeError, match=r"expected embeddings \(2, 128\) .*found \(2, 127\)"):
        check_recipe(load_recipe(SMALL, {}), HEADS)


def test_options_of_the_loader_do_not_make_training_stale():
    base = deciding_settings(load_recipe(SMALL, {}))
    loading = {"train_dataloader.num_workers": 7, "train_dataloader.pin_memory": True}
    assert deciding_settings(load_recipe(SMALL, loading)) == base
    assert deciding_settings(load_recipe(SMALL, {"train_dataloader.batch_size": 7})) != base
    assert "root" not in base["train_dataloader"]["dataset"]


def rates(path: Path, epochs: int, steps: int) -> list[float]:
    """Return the learning rate of each step of a recipe's schedule, built as the Runner does."""
    from mmengine.optim import OptimWrapper
    from mmengine.registry import PARAM_SCHEDULERS

    parameter = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.1))
    parts = [
        PARAM_SCHEDULERS.build(
            {"end": epochs, **one}, default_args={"optimizer": wrapper, "epoch_length": steps}
        )
        for one in load_recipe(path, {}).param_scheduler
    ]
    found = []
    for _ in range(epochs * steps):
        found.append(wrapper.get_lr()["lr"][0])
        wrapper.update_params(parameter.sum())
        for part in parts:
            part.step()
    return found


def test_the_rate_warms_up_for_an_epoch_and_falls_to_zero():
    found = rates(SMALL, epochs=4, steps=5)
    assert found[0] == pytest.approx(0.001) and max(found) == pytest.approx(0.1)
    assert found[:6] == sorted(found[:6]) and found[5:] == sorted(found[5:], reverse=True)
    half = [0.05 * (1 + math.cos(math.pi * step / 15)) for step in range(15)]
    assert found[5:] == pytest.approx(half)


def test_the_rate_of_arcface_torch_falls_on_a_line():
    found = rates(CONFIGS / "arcface_torch" / "ms1mv3_r50.py", epochs=4, steps=5)
    assert found == pytest.approx([0.1 * (1 - step / 19) for step in range(20)])
