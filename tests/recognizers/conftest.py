"""Stand-ins for a head and a reconstructor, simple enough to compute by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lh2face.registry import MODELS


class LinearHead(nn.Module):
    """Computes cross-entropy over plain dot products, and counts its calls."""

    def __init__(self, num_classes: int, in_channels: int = 512) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, in_channels) / in_channels**0.5)
        self.register_buffer("calls", torch.tensor(0))

    def loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        logits = embeddings @ self.weight.T
        return {
            "loss_cls": nn.functional.cross_entropy(logits, labels),
            "kappa": embeddings.detach().norm(dim=1).mean(),
        }


class LinearReconstructor(nn.Module):
    """Maps pooled images linearly; the canonical face is the image, dimmed."""

    def __init__(self, image_size: int = 16) -> None:
        super().__init__()
        self.image_size = image_size
        self.linear = nn.Linear(3, 6)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Tensor) -> SimpleNamespace:
        assert images.shape[1:] == (3, self.image_size, self.image_size)
        depth = 1 + 0.1 * (images * self.gain).mean(1).tanh()
        canonical = images * self.gain
        return SimpleNamespace(canonical=canonical, depth=depth, view=self.view_of(images))

    def view_of(self, images: Tensor) -> Tensor:
        left, right = images[..., : self.image_size // 2], images[..., self.image_size // 2 :]
        return self.linear((left - right).mean((2, 3)))

    def loss(
        self, images: Tensor, face: SimpleNamespace, landmarks: Tensor | None = None
    ) -> dict[str, Tensor]:
        return {
            "loss_reco": (face.canonical - images).abs().mean(),
            "loss_smooth": self.gain.square(),
            "confidence": self.gain.detach(),
        }


@pytest.fixture(scope="session", autouse=True)
def registered_fakes():
    modules = (LinearHead, LinearReconstructor)
    for module in modules:
        MODELS.register_module(module=module)
    yield
    for module in modules:
        MODELS.module_dict.pop(module.__name__)
