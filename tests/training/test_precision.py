"""Low precision, accumulation, compilation and options of loaders work from a config."""

import copy

import pytest
import torch
from tiny_run import LH2FACE, PEOPLE, Act, StopError, die, make_runner, weights

from lh2face.distributed.finite import NonFiniteError
from lh2face.recognizers import FaceRecognizer
from lh2face.registry import MODELS, ROLES
from lh2face.training import AutocastOptimWrapper

COSFACE = {"type": "CosFaceHead", "num_classes": PEOPLE, "in_channels": 8}
AUTOCAST = {"type": "AutocastOptimWrapper"}
HEADS = [name for name in ROLES["head"].classes() if name.endswith("Head")]


def wrapped(dtype: str, values: list[float], **options) -> AutocastOptimWrapper:
    """Return an optimizer wrapper of a parameter with these values."""
    parameter = torch.nn.Parameter(torch.tensor(values))
    return AutocastOptimWrapper(dtype, optimizer=torch.optim.SGD([parameter], 0.5), **options)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "ShardedHead"])
def test_heads_compute_in_float32_except_for_one_product(name):
    """bfloat16 has 8 bits: cosines are accurate to 2⁻⁹, which a scale of 64 turns into 0.1."""
    generator = torch.Generator().manual_seed(0)
    embeddings = 6 * torch.randn(32, 64, generator=generator)
    labels = torch.randint(20, (32,), generator=generator)
    torch.manual_seed(0)
    head = MODELS.build({"type": name, "num_classes": 20, "in_channels": 64})
    losses, slopes = [], []
    for enabled in (False, True):
        leaf = embeddings.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = MODELS.build(
                {"type": name, "num_classes": 20, "in_channels": 64}
            )  # each head has its own statistics
            terms.load_state_dict(head.state_dict())
            terms = terms.loss(leaf, labels)
        assert all(term.dtype == torch.float32 for term in terms.values())
        losses.append(sum(term for key, term in terms.items() if "loss" in key))
        losses[-1].backward()
        slopes.append(leaf.grad)
    plain, low = losses
    assert low.item() == pytest.approx(plain.item(), rel=5e-3)
    assert torch.cosine_similarity(slopes[0].flatten(), slopes[1].flatten(), dim=0) > 0.999


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("head", ["lh2face", "sharded"])
def test_a_resumed_run_in_low_precision_ends_with_the_same_bits(tmp_path, dtype, head):
    seen = []

    def note(self, images):
        embeddings = type(self).forward(self, images)
        seen.append((self.layers[0](images).dtype, embeddings.dtype))
        return embeddings

    wrapper = {**AUTOCAST, "dtype": dtype, "accumulative_counts": 2}
    options = {"wrapper": wrapper, "head": head}
    whole = make_runner(tmp_path / "whole", **options)
    backbone = whole.model.backbone
    backbone.forward = note.__get__(backbone)
    whole.train()
    assert set(seen) == {(getattr(torch, dtype), torch.float32)}
    with pytest.raises(StopError):
        make_runner(tmp_path / "work", hooks=[Act(9, die)], **options).train()
    again = make_runner(tmp_path / "work", resume=True, **options)
    again.train()
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(again).items())
    if dtype == "float16":
        scalers = [runner.optim_wrapper.loss_scaler.state_dict() for runner in (whole, again)]
        assert scalers[0] == scalers[1]
        left_out = 8 - scalers[0]["_growth_tracker"]
        assert scalers[0]["scale"] == 65536 / 2**left_out
        return
    plain = make_runner(tmp_path / "plain", head=head, wrapper={"accumulative_counts": 2})
    plain.train()
    for name, value in weights(plain).items():
        if value.is_floating_point():
            torch.testing.assert_close(expected[name], value, rtol=0.05, atol=0.05)
            assert not (value.numel() > 50 and torch.equal(expected[name], value)), name


def test_a_step_with_overflowing_scaled_gradients_is_skipped():
    wrapper = wrapped("float16", [1.0, 2.0], clip_grad={"max_norm": 10.0})
    (parameter,) = wrapper.optimizer.param_groups[0]["params"]
    before = wrapper.loss_scaler.get_scale()
    wrapper.update_params((parameter * torch.tensor([torch.inf, 1.0])).sum())
    assert parameter.tolist() == [1.0, 2.0]
    assert wrapper.loss_scaler.get_scale() == before / 2
    wrapper.update_params((parameter * torch.tensor([2.0, 4.0])).sum())
    assert parameter.tolist() == [0.0, 0.0]
    other = wrapped("float16", [0.0])
    other.load_state_dict(wrapper.state_dict())
    assert other.loss_scaler.get_scale() == before / 2


def test_bfloat16_does_not_scale_the_loss():
    wrapper = wrapped("bfloat16", [1.0])
    assert "loss_scaler" not in wrapper.state_dict()
    (parameter,) = wrapper.optimizer.param_groups[0]["params"]
    wrapper.update_params(2 * parameter.sum())
    assert parameter.tolist() == [0.0]


@pytest.mark.parametrize(
    ("wrapper", "compiled"),
    [
        ({**AUTOCAST, "dtype": "bfloat16"}, False),
        ({**AUTOCAST, "dtype": "float16"}, False),
        ({"accumulative_counts": 4}, False),
        pytest.param({}, True, marks=pytest.mark.faults),
    ],
    ids=["bfloat16", "float16", "accumulated", "compiled"],
)
def test_a_loss_of_nan_ends_the_run_with_its_step(tmp_path, monkeypatch, wrapper, compiled):
    step = 6
    original, calls = FaceRecognizer.recognition_loss, []

    def spoiled(self, embeddings, labels):
        calls.append(1)
        terms = original(self, embeddings, labels)
        return {k: v * (torch.nan if len(calls) == step else 1) for k, v in terms.items()}

    monkeypatch.setattr(FaceRecognizer, "recognition_loss", torch.compiler.disable(spoiled))
    settings = {"compile": {"backend": "eager"}} if compiled else {}
    runner = make_runner(tmp_path, wrapper=wrapper, cfg=settings)
    expected = rf"stopped at step {step}, learning rate .* loss is nan; .*: step {step - 1}, .*kept"
    with pytest.raises(NonFiniteError, match=expected):
        runner.train()
    assert torch.load(tmp_path / "last.pth")["meta"]["iter"] in (4, 5)


def test_accumulated_gradients_are_those_of_the_large_batch(tmp_path):
    """The model has no batch norm and the head no statistics, which depend on the batch."""
    results = []
    for batch, counts in ((8, 1), (4, 2)):
        runner = make_runner(
            tmp_path / str(batch),
            epochs=1,
            loader={"batch_size": batch},
            backbone={"norm": False, "dropout": 0.0},
            wrapper={"accumulative_counts": counts},
            recognizer={"head": COSFACE},
            param_scheduler=None,
        )
        runner.train()
        results.append((weights(runner), runner.iter))
    assert [steps for _, steps in results] == [5, 10]
    for name, value in results[0][0].items():
        torch.testing.assert_close(results[1][0][name], value, rtol=1e-5, atol=1e-6)


def test_a_compiled_run_gives_the_same_weights(tmp_path):
    """The graph is captured but run as it is: PyTorch's own backend would take a minute."""
    results = []
    for name, settings in (("plain", {}), ("compiled", {"compile": {"backend": "aot_eager"}})):
        runner = make_runner(tmp_path / name, epochs=1, cfg=settings)
        runner.train()
        results.append(weights(runner))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-4, atol=1e-5)


def test_pinned_memory_and_persistent_workers_change_nothing(tmp_path):
    results = []
    for name, loader in (
        ("plain", {}),
        ("kept", {"num_workers": 2, "persistent_workers": True, "pin_memory": True}),
    ):
        runner = make_runner(tmp_path / name, loader=loader)
        runner.train()
        results.append(weights(runner))
    for name, value in results[0].items():
        assert torch.equal(results[1][name], value), name


def test_joint_training_in_bfloat16_sees_the_same_faces():
    """The renderer computes in float32, because depths lie in 1 ± 0.1."""
    torch.manual_seed(0)
    recognizer = MODELS.build(
        {
            "type": "FaceRecognizer",
            "backbone": {"type": "MobileFaceNet", "embedding_size": 8, "width": 0.25,
                         "image_size": 32},
            "head": LH2FACE,
            "reconstructor": {"type": "Unsup3DReconstructor", "image_size": 32, "width": 8},
            "fusion": "canonical_depth",
        }
    )  # fmt: skip
    images = torch.nn.functional.interpolate(torch.rand(8, 3, 4, 4), (32, 32), mode="bicubic")
    seen = []
    for enabled in (False, True):
        recognizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found = copy.deepcopy(recognizer).reconstruct(images)
            terms = copy.deepcopy(recognizer).loss(images, torch.arange(8) % PEOPLE)
        assert all(term.dtype == torch.float32 for term in terms.values())
        seen.append((terms, found))
    (plain, exact), (low, near) = seen
    for name, value in plain.items():
        assert low[name].item() == pytest.approx(value.item(), rel=0.05, abs=1e-4), name
    assert low["loss_reco"].item() == pytest.approx(plain["loss_reco"].item(), rel=5e-3)
    assert (near.depth - exact.depth).abs().max() < 0.005
    assert (near.view - exact.view).abs().max() < 0.002
