"""Stage fit3d: what it must not hand on."""

import pytest
import torch
from torch import nn

from lh2face.stages import fit3d

FACES = [{"inputs": torch.zeros(3, 2, 2, dtype=torch.uint8)}] * 4


class Falling(nn.Module):
    """Its loss is a number over a weight that the first step moves; then one that is given."""

    def __init__(self, then: float) -> None:
        super().__init__()
        self.weight, self.steps, self.then = nn.Parameter(torch.ones(())), 0, then

    def forward(self, images):
        return images

    def loss(self, images, face):
        self.steps += 1
        return {"loss": self.weight * (1.0 if self.steps < 3 else self.then)}


@pytest.mark.parametrize("then", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_at_its_step(then):
    model = Falling(then)
    with pytest.raises(ValueError, match=r"stopped at step 3: loss (nan|inf).*fit3d\.lr: found 0"):
        fit3d.train(model, FACES, steps=3, batch_size=2, lr=0.1)
    assert model.weight.isfinite()


def test_the_terms_of_the_last_step_are_returned():
    terms = fit3d.train(Falling(1.0), FACES, steps=3, batch_size=2, lr=0.1)
    assert terms["loss"] < 1
