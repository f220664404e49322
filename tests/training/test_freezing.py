"""Frozen parts keep their weights and statistics for the given epochs."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner


def watched(config):
    """Train; return the states of backbone and head before and after each epoch, and the runner."""
    runner = Runner.from_cfg(config)
    found = []

    class Watch(Hook):
        def before_train(self, runner):
            self.after_train_epoch(runner)

        def after_train_epoch(self, runner):
            found.append({n: v.clone() for n, v in runner.model.state_dict().items()})

    runner.register_hook(Watch())
    runner.train()
    return found, runner


def changed(before: dict, after: dict) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.fixture
def decaying(config):
    """A config with weight decay on all parameters, so that every trained parameter changes."""
    config.optim_wrapper = {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    }
    config.train_cfg.max_epochs = 3
    return config


def test_a_frozen_part_keeps_weights_and_statistics(decaying):
    decaying.custom_hooks = [{"type": "FreezeHook", "parts": ["backbone"]}]
    states, runner = watched(decaying)
    names = changed(states[0], states[-1])
    assert names and all(name.startswith("head.") for name in names)
    assert not any("exp_avg" in state or "momentum_buffer" in state
                   for weight, state in runner.optim_wrapper.optimizer.state.items()
                   if not weight.requires_grad)  # fmt: skip


def test_a_frozen_head_has_a_finite_statistic_from_the_first_batch(decaying):
    """A checkpoint with NaN would stop the run and count as damaged."""
    decaying.model.head.update(type="LH2FaceHead", vmf_dim=16)
    decaying.custom_hooks = [{"type": "FreezeHook", "parts": ["head"]}]
    states, _ = watched(decaying)
    assert changed(states[0], states[-1]) & {n for n in states[0] if n.startswith("head.")} == {
        "head.mean_norm"
    }
    assert states[1]["head.mean_norm"] == states[-1]["head.mean_norm"] > 0


def test_a_submodule_is_frozen_alone(decaying):
    decaying.custom_hooks = [
        {"type": "FreezeHook", "parts": ["backbone.stem", "backbone.blocks.0"]}
    ]
    states, _ = watched(decaying)
    names = changed(states[0], states[-1])
    assert not any(name.startswith(("backbone.stem.", "backbone.blocks.0.")) for name in names)
    assert any(name.startswith("backbone.blocks.1.") for name in names)


def test_a_part_trains_after_its_frozen_epochs(decaying):
    decaying.custom_hooks = [{"type": "FreezeHook", "parts": ["backbone"], "epochs": 1}]
    states, runner = watched(decaying)
    assert all(name.startswith("head.") for name in changed(states[0], states[1]))
    names = changed(states[1], states[2])
    assert any(name.startswith("backbone.") and name.endswith("running_mean") for name in names)
    assert {name for name, _ in runner.model.named_parameters()} <= changed(states[0], states[2])
    assert all(weight.requires_grad for weight in runner.model.parameters())


@pytest.mark.parametrize("epochs", [2, None])
def test_a_resumed_run_with_frozen_parts_has_the_same_bits(decaying, epochs, tmp_path):
    decaying.custom_hooks = [{"type": "FreezeHook", "parts": ["backbone"], "epochs": epochs}]
    whole, _ = watched(decaying)
    decaying.work_dir = str(tmp_path / "interrupted")
    decaying.train_cfg.max_epochs = 1
    decaying.experiment_name += "-first"
    watched(decaying)
    decaying.train_cfg.max_epochs = 3
    decaying.resume = True
    decaying.experiment_name += "-then"
    states, runner = watched(decaying)
    assert len(states) == 3 and runner.iter == 6
    assert not changed(whole[-1], states[-1])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            ["bakbone"],
            r"parts: found 'bakbone', allowed are data_preprocessor, backbone, head",
        ),
        ([""], r"FreezeHook\.parts: found ''"),
        (["backbone", "head"], "leave nothing to train"),
    ],
)
def test_parts_that_cannot_be_frozen_are_named_before_the_first_step(decaying, parts, message):
    decaying.custom_hooks = [{"type": "FreezeHook", "parts": parts}]
    runner = Runner.from_cfg(decaying)
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0
