import math

import torch

from lh2face.functional import margins

T = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1, 3, 3, 3])


def test_the_positive_term_equals_loops():
    terms = [
        math.log(1 + sum(math.exp(-T[i]) for i in range(6) if LABELS[i] == p)) for p in (0, 1, 3)
    ]
    assert math.isclose(margins.positive_proxy_loss(T, LABELS).item(), sum(terms) / 3)


def test_the_mean_over_labels_counts_each_label_once():
    values = torch.tensor([2.0, 5.0, 5.0, 8.0, 8.0, 8.0])
    torch.testing.assert_close(margins.mean_over_labels(values, LABELS), torch.tensor(5.0))


def test_cross_entropy_equals_pytorchs():
    logits = 9 * torch.randn(4, 5, dtype=torch.float64)
    labels = torch.tensor([0, 4, 2, 2])
    own = torch.nn.functional.one_hot(labels, 5).bool()
    negatives = logits.masked_fill(own, -torch.inf).logsumexp(1)
    torch.testing.assert_close(
        margins.margin_cross_entropy(logits[own], negatives),
        torch.nn.functional.cross_entropy(logits, labels),
    )


def test_angular_margin_falls_with_the_angle():
    # At θ = 0 the slope is clamped to stay finite, which costs 5e-7.
    angle = torch.linspace(1e-3, math.pi, 400, dtype=torch.float64)
    target = margins.angular_margin(angle.cos(), 0.5)
    before = angle < math.pi - 0.5
    torch.testing.assert_close(target[before], (angle + 0.5).cos()[before])
    assert (target.diff() < 0).all()


def test_huge_targets_stay_finite():
    target = (1e4 * T).requires_grad_()
    loss = margins.positive_proxy_loss(target, LABELS)
    loss.backward()
    assert loss.isfinite() and target.grad.isfinite().all()
