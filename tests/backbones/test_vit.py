"""The Vision Transformer equals that of arcface_torch and PyTorch's encoder layer.

``LH2FACE_ARCFACE_TORCH`` is the folder ``recognition/arcface_torch`` of an insightface checkout.
"""

import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from lh2face.backbones import VisionTransformer
from lh2face.backbones.vit import Block
from lh2face.registry import MODELS

REAL = os.environ.get("LH2FACE_ARCFACE_TORCH")
SMALL = {"embedding_size": 24, "image_size": 48, "width": 32, "depth": 3, "heads": 4}
# Names in the toolbox's configs, and our arguments for the same network.
PUBLISHED = {
    "vit_t": {"width": 256},
    "vit_s": {"width": 512},
    "vit_b": {"width": 512, "depth": 24},
    "vit_l_dp005_mask_005": {"width": 768, "depth": 24, "drop_path": 0.05, "mask_ratio": 0.05},
    "vit_h": {"width": 1024, "depth": 48, "mask_ratio": 0.0},
}


def small(**changes) -> VisionTransformer:
    torch.manual_seed(0)
    return MODELS.build({"type": "VisionTransformer", **SMALL, **changes})


def images(count: int, size: int = 48, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, size, size, generator=generator) * 2 - 1


@pytest.fixture(scope="module")
def theirs():
    """The toolbox's class, with stand-ins for the functions of timm that it calls."""
    if not REAL:
        pytest.skip("LH2FACE_ARCFACE_TORCH names no checkout")
    layers = ModuleType("timm.models.layers")
    layers.to_2tuple = lambda value: (value, value)
    layers.trunc_normal_ = nn.init.trunc_normal_
    layers.DropPath = lambda rate: nn.Identity()
    stand_ins = {"timm": ModuleType("timm"), "timm.models": ModuleType("timm.models"),
                 "timm.models.layers": layers}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stand_ins.items():
            patch.setitem(sys.modules, name, module)
        yield runpy.run_path(str(Path(REAL) / "backbones" / "vit.py"))["VisionTransformer"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_equal_the_toolboxs(theirs, name, monkeypatch):
    ours = PUBLISHED[name]
    # The toolbox reads drop rates out of a tensor, which a tensor on the meta device forbids.
    linspace = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *range_: linspace(*range_, device="cpu"))
    with torch.device("meta"):
        expected = theirs(
            img_size=112, patch_size=9, num_classes=512, embed_dim=ours["width"],
            depth=ours.get("depth", 12), num_heads=8, mask_ratio=0.1,
        ).state_dict()  # fmt: skip
        found = VisionTransformer(**ours).state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}


def test_embeddings_equal_the_toolboxs_for_its_weights(theirs):
    torch.manual_seed(1)
    reference = theirs(img_size=48, patch_size=9, num_classes=24, embed_dim=32, depth=3,
                       num_heads=4, mask_ratio=0.0)  # fmt: skip
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.3)
    reference.train()(images(8))  # sets the batch statistics of the last layers
    model = small()
    model.load_state_dict(reference.state_dict())
    torch.testing.assert_close(
        model.eval()(images(5)), reference.eval()(images(5)), rtol=1e-4, atol=1e-4
    )


def test_names_of_published_weights_are_kept():
    names = set(small(depth=1).state_dict())
    linear = {f"blocks.0.{part}.{kind}" for part in ("norm1", "norm2", "attn.proj", "mlp.fc1",
              "mlp.fc2") for kind in ("weight", "bias")}  # fmt: skip
    norms = {f"feature.{i}.{kind}" for i in (1, 3) for kind in
             ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}  # fmt: skip
    assert names == linear | norms | {
        "pos_embed", "mask_token", "patch_embed.proj.weight", "patch_embed.proj.bias",
        "blocks.0.attn.qkv.weight", "norm.weight", "norm.bias", "feature.0.weight",
        "feature.2.weight",
    }  # fmt: skip


def test_a_block_equals_pytorchs_encoder_layer():
    """PyTorch's layer has other names for the weights, GELU or ReLU, and a bias of q, k, v."""
    torch.manual_seed(0)
    block = Block(32, 4, drop_path=0.5).eval()
    layer = nn.TransformerEncoderLayer(
        32, 4, 128, dropout=0.0, activation=nn.functional.relu6, batch_first=True, norm_first=True
    ).eval()
    nn.init.zeros_(layer.self_attn.in_proj_bias)
    pairs = {
        "self_attn.in_proj_weight": block.attn.qkv.weight,
        "self_attn.out_proj.weight": block.attn.proj.weight,
        "self_attn.out_proj.bias": block.attn.proj.bias,
        "linear1.weight": 9 * block.mlp.fc1.weight, "linear1.bias": block.mlp.fc1.bias,
        "linear2.weight": block.mlp.fc2.weight, "linear2.bias": block.mlp.fc2.bias,
    }  # fmt: skip
    with torch.no_grad():
        block.mlp.fc1.weight.mul_(9)  # so that some values exceed the 6 of ReLU6
    layer.load_state_dict({**layer.state_dict(), **pairs})
    x = torch.randn(2, 7, 32)
    torch.testing.assert_close(block(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [9, 32, 48, 112])
def test_embeddings_have_the_expected_shape(size):
    model = small(image_size=size, in_channels=4)
    assert model.pos_embed.shape[1] == (size // 9) ** 2
    found = model(images(3, size, 4))
    assert found.shape == (3, 24) and found.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 8}, "image_size: expected at least the side of a patch, 9, .* found 8"),
        ({"image_size": 2000}, "image_size: .* at most 1024, found 2000"),
        ({"image_size": 48.0}, "image_size: expected a whole number"),
        ({"width": 30}, "width: expected a multiple of heads, 4, found 30"),
        ({"depth": 0}, "depth: expected a whole number of at least 1, found 0"),
        ({"heads": 0}, "heads: "),
        ({"patch_size": 0}, "patch_size: "),
        ({"drop_path": 1.0}, "drop_path: "),
        ({"mask_ratio": 1.0}, "mask_ratio: "),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_masking_replaces_the_given_share_of_tokens_only_in_training():
    model = small(mask_ratio=0.4, drop_path=0.0, depth=1)
    with torch.no_grad():
        model.mask_token.fill_(100.0)
    seen = []
    model.feature[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.train()(images(6))
    tokens = seen[0].view(6, 25, 32)
    masked = (tokens == 100).all(2)
    assert (masked.sum(1) == 10).all() and len({tuple(row.tolist()) for row in masked}) > 1
    model.eval()(images(6))
    assert not (seen[1].view(6, 25, 32) == 100).any()


def test_masked_tokens_keep_their_places():
    """With blocks that change nothing, a visible token equals the token in evaluation."""
    model = small(mask_ratio=0.4)
    model.blocks = nn.ModuleList()
    x = model.patch_embed(images(4)) + model.pos_embed
    found, expected = model.encode_some(x), model.encode(x)
    kept = torch.isclose(found, expected).all(2)
    assert (kept.sum(1) == 15).all()
    torch.testing.assert_close(found[~kept], model.mask_token[0].expand(40, -1))


def test_stochastic_depth_keeps_the_expected_output():
    block = Block(8, 2, drop_path=0.25).train()
    torch.manual_seed(0)
    found = block.drop_samples(torch.ones(4000, 3, 8))
    assert found.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert found.mean() == pytest.approx(1, abs=0.04)
    assert (found == found[:, :1, :1]).all()
    assert [block.drop_path for block in small(drop_path=0.2).blocks] == [0, 0.1, 0.2]


def test_the_network_trains_and_gives_float32_under_autocast():
    model = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images(4))
    assert found.dtype == torch.float32
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
