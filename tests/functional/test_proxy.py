import math

import torch

from lh2face.functional import proxy

S = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1, 3, 3, 3])
M = 0.7


def test_positive_term_against_loops():
    terms = [
        math.log(1 + sum(math.exp(-(S[i, p].item() - M)) for i in range(6) if LABELS[i] == p))
        for p in (0, 1, 3)
    ]
    assert math.isclose(proxy.proxy_positive_loss(S, LABELS, M).item(), sum(terms) / 3)


def test_negative_term_against_loops():
    terms = [
        math.log(1 + sum(math.exp(S[i, p].item() + M) for i in range(6) if LABELS[i] != p))
        for p in range(4)
    ]
    assert math.isclose(proxy.proxy_negative_loss(S, LABELS, M).item(), sum(terms) / 4)


def test_proxy_term_against_loops():
    cos = S[:4].tanh()
    terms = [
        math.log(1 + sum(math.exp(5 * cos[p, q].item() + M) for q in range(4) if q != p))
        for p in range(4)
    ]
    assert math.isclose(proxy.proxy_proxy_loss(cos, 5.0, M).item(), sum(terms) / 4)


def test_huge_similarities_stay_finite():
    similarity = (1e4 * S).requires_grad_()
    loss = proxy.proxy_negative_loss(similarity, LABELS, M)
    loss.backward()
    assert loss.isfinite() and similarity.grad.isfinite().all()
