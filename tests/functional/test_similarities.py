"""Chunked reductions equal those of the whole matrix, with PyTorch's autograd."""

import pytest
import torch

from lh2face.functional import similarities as sim
from lh2face.functional.similarities import HardNegatives, proxy_similarities

R, C, D = 5, 11, 4


@pytest.fixture(params=[1, 3 * R, 1 << 19], ids=["one class", "three classes", "all classes"])
def chunk_entries(request, monkeypatch):
    monkeypatch.setitem(sim.CHUNK_ENTRIES, "cpu", request.param)


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    rows = 3 * torch.randn(R, D, generator=generator, dtype=dtype)
    proxies = torch.randn(C, D, generator=generator, dtype=dtype)
    offset = torch.randn(R - 1, generator=generator, dtype=dtype)
    labels = torch.tensor([0, 10, 3, 3, -1])
    return rows, proxies, labels, offset


def plain(rows, proxies, labels, offset=None, anchor_scale=None, hard=None):
    unit = proxies / proxies.norm(dim=1, keepdim=True)
    if anchor_scale is not None:
        rows = torch.cat([rows, anchor_scale * unit[labels]])
        labels = labels.repeat(2)
    s = rows @ unit.T
    own = labels[:, None] == torch.arange(len(proxies))
    others = s.masked_fill(own, -torch.inf)
    hardened = others
    if hard is not None:
        above = (s > hard.threshold[:, None]) & ~own
        hardened = torch.where(above, s * (hard.boost + s / hard.scale), others)
    size = 0 if offset is None else len(offset)
    columns = torch.full((len(proxies),), -torch.inf, dtype=rows.dtype)
    if size:
        columns = (others[:size] + offset[:, None]).logsumexp(0)
    return (s * own).sum(1), hardened.logsumexp(1), columns


def assert_same(found, expected, leaves):
    torch.manual_seed(1)
    total = wanted = 0
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
        weight = torch.randn_like(mine)
        keep = theirs.isfinite()
        total = total + (weight * mine)[keep].sum()
        wanted = wanted + (weight * theirs)[keep].sum()
    grads = torch.autograd.grad(total, leaves)
    torch.testing.assert_close(grads, torch.autograd.grad(wanted, leaves))


def test_rows_and_columns_equal_those_of_the_whole_matrix(chunk_entries):
    rows, proxies, labels, offset = inputs()
    leaves = [t.requires_grad_() for t in (rows, proxies, offset)]
    found = proxy_similarities(rows, proxies, labels, offset=offset)
    assert_same(found, plain(rows, proxies, labels, offset), leaves)


def test_anchors_equal_those_of_the_whole_matrix(chunk_entries):
    rows, proxies, _, offset = inputs()
    labels = torch.tensor([0, 10, 3, 3, 7])
    scale = torch.tensor(2.5, dtype=torch.float64)
    leaves = [t.requires_grad_() for t in (rows, proxies, offset, scale)]
    found = proxy_similarities(rows, proxies, labels, offset=offset, anchor_scale=scale)
    assert_same(found, plain(rows, proxies, labels, offset, scale), leaves)


def test_hard_negatives_equal_those_of_the_whole_matrix(chunk_entries):
    rows, proxies, labels, _ = inputs()
    leaves = [t.requires_grad_() for t in (rows, proxies)]
    hard = HardNegatives(torch.linspace(-2, 2, R, dtype=torch.float64), torch.tensor(0.7), 8.0)
    found = proxy_similarities(rows, proxies, labels, hard=hard)
    assert_same(found, plain(rows, proxies, labels, hard=hard), leaves)


def test_one_class_has_no_negatives():
    rows, proxies, _, _ = inputs()
    proxies = proxies[:1].requires_grad_()
    found = proxy_similarities(rows, proxies, torch.zeros(R, dtype=torch.int64))
    assert (found.negatives == -torch.inf).all()
    (found.target.sum() + torch.nn.functional.softplus(found.negatives).sum()).backward()
    assert proxies.grad.isfinite().all()


def test_autocast_computes_products_in_its_dtype_and_sums_in_float32():
    rows, proxies, labels, offset = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = proxy_similarities(rows, proxies, labels, offset=offset)
    expected = plain(rows, proxies, labels, offset)
    assert all(part.dtype == torch.float32 for part in found)
    torch.testing.assert_close(found.negatives, expected[1], rtol=0.02, atol=0.05)
    assert (found.negatives != expected[1]).any()


def test_zero_rows_and_zero_proxies_have_finite_gradients():
    _, _, labels, _ = inputs()
    vectors = torch.zeros(R, D, requires_grad=True)
    proxies = torch.zeros(C, D, requires_grad=True)
    found = proxy_similarities(sim.unit(vectors), proxies, labels)
    (found.target - found.negatives).sum().backward()
    assert vectors.grad.isfinite().all() and proxies.grad.isfinite().all()


def test_norms_of_large_vectors_stay_finite():
    assert sim.length(torch.full((1, 4), 1e30)).item() == pytest.approx(2e30)
