"""Every head equals a naive reference in NumPy, and copes with inputs that often break heads."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, ive

from lh2face.functional.similarities import unit
from lh2face.heads import (
    AdaFaceHead,
    ArcFaceHead,
    CosFaceHead,
    CurricularFaceHead,
    LH2FaceHead,
    MagFaceHead,
    NormFaceHead,
    ProxyAnchorHead,
    SCFHead,
)
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS

HEADS = [
    AdaFaceHead, ArcFaceHead, CosFaceHead, CurricularFaceHead, LH2FaceHead, MagFaceHead,
    NormFaceHead, ProxyAnchorHead, SCFHead,
]  # fmt: skip
C, D = 7, 8


def build(head_class, **kwargs):
    torch.manual_seed(0)
    head = head_class(C, D, **kwargs).double()
    with torch.no_grad():
        head.proxies.weight.normal_()
    return head


def batch(size=5):
    generator = torch.Generator().manual_seed(1)
    z = 3 * torch.randn(size, D, generator=generator, dtype=torch.float64)
    return z, torch.randint(C, (size,), generator=generator)


def total(terms):
    return sum(value for name, value in terms.items() if "loss" in name)


def naive_softmax(logits, labels):
    return np.mean(
        [np.log(np.exp(row).sum()) - row[y] for row, y in zip(logits, labels, strict=True)]
    )


def cosines(head, z):
    w = head.proxies.weight.detach().numpy()
    z = z.numpy()
    return (z / np.linalg.norm(z, axis=1)[:, None]) @ (w / np.linalg.norm(w, axis=1)[:, None]).T


def angular(theta, margin):
    past = theta > math.pi - margin
    return math.cos(theta) - margin * math.sin(margin) if past else math.cos(theta + margin)


def norms(z):
    return np.linalg.norm(z.numpy(), axis=1)


def test_normface_formula():
    head, (z, y) = build(NormFaceHead), batch()
    assert head.loss(z, y)["loss"].item() == pytest.approx(naive_softmax(64 * cosines(head, z), y))


def test_curricularface_formula():
    head, (z, y) = build(CurricularFaceHead), batch(40)
    head.boost.fill_(0.4)
    cos = cosines(head, z)
    t = 0.01 * np.mean([cos[i, label] for i, label in enumerate(y)]) + 0.99 * 0.4
    logits, hard = cos.copy(), 0
    for i, label in enumerate(y):
        theta = math.acos(cos[i, label])
        for j in range(C):
            if cos[i, j] > math.cos(theta + 0.5):
                logits[i, j] = cos[i, j] * (t + cos[i, j])
                hard += j != label
        logits[i, label] = angular(theta, 0.5)
    terms = head.loss(z, y)
    assert 0 < hard < 40 * (C - 1)
    assert terms["boost"].item() == pytest.approx(t)
    assert terms["loss"].item() == pytest.approx(naive_softmax(64 * logits, y))


@pytest.mark.parametrize("easy_margin", [None, False])
def test_magface_formula(easy_margin):
    """The default is the authors' code, which applies no margin from a right angle on."""
    head = build(MagFaceHead, **({} if easy_margin is None else {"easy_margin": easy_margin}))
    z, y = batch(40)
    z[::3] *= 20
    a = norms(z).clip(10, 110)
    assert {10, 110} < set(a)
    logits = cosines(head, z)
    own = logits[np.arange(40), y]
    assert (own < 0).any() and (own > 0).any()
    for i, label in enumerate(y):
        margin = 0.45 + (0.8 - 0.45) / (110 - 10) * (a[i] - 10)
        if own[i] > 0 or easy_margin is False:
            logits[i, label] = angular(math.acos(own[i]), margin)
    terms = head.loss(z, y)
    assert terms["loss_margin"].item() == pytest.approx(naive_softmax(64 * logits, y))
    assert terms["loss_norm"].item() == pytest.approx(35 * np.mean(1 / a + a / 110**2))


def test_adaface_formula():
    head, (z, y) = build(AdaFaceHead), batch(40)
    head.norm_mean.fill_(9.0)
    head.norm_deviation.fill_(3.0)
    a = norms(z)
    mean, deviation = 0.99 * 9 + 0.01 * a.mean(), 0.99 * 3 + 0.01 * a.std(ddof=1)
    quality = ((a - mean) / (deviation + 1e-3) * 0.333).clip(-1, 1)
    logits = cosines(head, z)
    for i, label in enumerate(y):
        theta = math.acos(logits[i, label]) - 0.4 * quality[i]
        theta = min(max(theta, 1e-3), math.pi - 1e-3)
        logits[i, label] = math.cos(theta) - (0.4 + 0.4 * quality[i])
    assert head.loss(z, y)["loss"].item() == pytest.approx(naive_softmax(64 * logits, y))


def test_scf_formula():
    head, (z, y) = build(SCFHead), batch()
    kappa, cos = norms(z), cosines(head, z)
    nu = D / 2 - 1
    log_iv = np.log(ive(nu, kappa)) + kappa
    constant = D / 2 * math.log(2 * math.pi) + D * math.log(64)
    own = np.array([cos[i, label] for i, label in enumerate(y)])
    likelihood = -kappa * own - nu * np.log(kappa) + log_iv + constant
    for i, label in enumerate(y):
        cos[i, label] = angular(math.acos(cos[i, label]), 0.5)
    terms = head.loss(z, y)
    assert terms["loss_likelihood"].item() == pytest.approx(likelihood.mean())
    assert terms["loss_margin"].item() == pytest.approx(naive_softmax(64 * cos, y))


def test_scf_likelihood_trains_the_norm_alone_and_the_softmax_the_direction():
    head, (z, y) = build(SCFHead), batch()
    z.requires_grad_()
    terms = head.loss(z, y)
    along = z / z.norm(dim=1, keepdim=True)
    (grad,) = torch.autograd.grad(terms["loss_margin"], z, retain_graph=True)
    torch.testing.assert_close((grad * along).sum(1), torch.zeros(5, dtype=torch.float64))
    (grad,) = torch.autograd.grad(terms["loss_likelihood"], z)
    torch.testing.assert_close(grad, (grad * along).sum(1, keepdim=True) * along)


def test_proxy_anchor_formula():
    head, (z, y) = build(ProxyAnchorHead), batch()
    cos = cosines(head, z)
    positive = [
        np.log1p(sum(np.exp(-32 * (cos[i, p] - 0.1)) for i in range(5) if y[i] == p))
        for p in set(y.tolist())
    ]
    negative = [
        np.log1p(sum(np.exp(32 * (cos[i, p] + 0.1)) for i in range(5) if y[i] != p))
        for p in range(C)
    ]
    terms = head.loss(z, y)
    assert terms["loss_positive"].item() == pytest.approx(np.mean(positive))
    assert terms["loss_negative"].item() == pytest.approx(np.mean(negative))


def test_cosface_formula():
    head, (z, y) = build(CosFaceHead), batch()
    logits = 64 * cosines(head, z)
    logits[np.arange(5), y] -= 64 * 0.35
    assert head.loss(z, y)["loss"].item() == pytest.approx(naive_softmax(logits, y))


def test_arcface_formula():
    head, (z, y) = build(ArcFaceHead), batch()
    cos = cosines(head, z)
    for i, label in enumerate(y):
        theta = math.acos(cos[i, label])
        cos[i, label] = angular(theta, 0.5)
    assert head.loss(z, y)["loss"].item() == pytest.approx(naive_softmax(64 * cos, y))


def test_straight_through_arcface_equals_that_of_arcface_torch():
    """In its ``losses.py``, logits have the margin, but the gradient ignores it."""
    head, (z, y) = build(ArcFaceHead, straight_through=True), batch(40)
    z[0] = -head.proxies.weight[y[0]].detach() + 0.1  # past π − m
    own = cosines(head, z)[np.arange(40), y]
    assert (own < math.cos(math.pi - 0.5)).any()
    z.requires_grad_()
    loss = head.loss(z, y)["loss"]
    grads = torch.autograd.grad(loss, (z, head.proxies.weight))
    logits = cosines(head, z.detach())
    logits[np.arange(40), y] = np.cos(np.arccos(own) + 0.5)
    assert loss.item() == pytest.approx(naive_softmax(64 * logits, y))
    # The gradient of the cosines is 64 times softmax minus one-hot.
    error = torch.from_numpy(64 * logits).softmax(1)
    error[torch.arange(40), y] -= 1
    cos = unit(z) @ unit(head.proxies.weight).T
    expected = torch.autograd.grad(cos, (z, head.proxies.weight), 64 * error / 40)
    torch.testing.assert_close(grads, expected)


def test_adaface_has_no_gradient_along_the_norm():
    head, (z, y) = build(AdaFaceHead), batch()
    head.norm_mean.fill_(9.0)
    head.norm_deviation.fill_(3.0)
    (grad,) = torch.autograd.grad(head.loss(z.requires_grad_(), y)["loss"], z)
    torch.testing.assert_close((grad * unit(z)).sum(1), torch.zeros(5, dtype=torch.float64))


def test_scf_with_the_authors_normalizer_equals_their_formula():
    head, (z, y) = build(SCFHead, authors_normalizer=True), batch()
    kappa, cos, nu = norms(z), cosines(head, z), D / 2 - 1
    own = np.array([cos[i, label] for i, label in enumerate(y)])
    log_iv = np.log(1e-6 + ive(nu, kappa)) + kappa
    constant = D / 2 * math.log(2 * math.pi) + D * math.log(64)
    likelihood = -kappa * own - nu * np.log(1e-6 + kappa) + log_iv + constant
    assert head.loss(z, y)["loss_likelihood"].item() == pytest.approx(likelihood.mean(), rel=1e-12)


def test_lh2face_formula():
    n = 6
    head, (z, y) = build(LH2FaceHead, vmf_dim=n), batch()
    kappa = np.linalg.norm(z.numpy(), axis=1)
    nu = n / 2 - 1
    log_c = nu * np.log(kappa) - n / 2 * np.log(2 * np.pi) - np.log(ive(nu, kappa)) - kappa
    log_uniform = gammaln(n / 2) - np.log(2) - n / 2 * np.log(np.pi)
    s = kappa[:, None] * cosines(head, z) + (log_c - log_uniform)[:, None]
    mu = kappa.mean()
    m = 0.35 * mu
    logits = s.copy()
    logits[np.arange(5), y] -= m
    w = head.proxies.weight.detach().numpy()
    w = w / np.linalg.norm(w, axis=1)[:, None]
    positive = [
        np.log1p(sum(np.exp(-(s[i, p] - m)) for i in range(5) if y[i] == p))
        for p in set(y.tolist())
    ]
    negative = [np.log1p(sum(np.exp(s[i, p] + m) for i in range(5) if y[i] != p)) for p in range(C)]
    between = [
        np.log1p(sum(np.exp(mu * w[p] @ w[q] + m) for q in range(C) if q != p))
        for p in set(y.tolist())
    ]
    terms = head.loss(z, y)
    assert terms["loss_vmf"].item() == pytest.approx(naive_softmax(logits, y))
    assert terms["loss_positive"].item() == pytest.approx(np.mean(positive))
    assert terms["loss_negative"].item() == pytest.approx(np.mean(negative))
    assert terms["loss_proxy"].item() == pytest.approx(np.mean(between))
    assert terms["margin"].item() == pytest.approx(m)


def test_lh2face_terms_can_be_switched_off():
    head = build(LH2FaceHead, positive_weight=0, negative_weight=0, proxy_weight=0)
    assert {name for name in head.loss(*batch()) if "loss" in name} == {"loss_vmf"}


def test_lh2face_without_the_density_ratio_compares_scaled_cosines():
    head, (z, y) = build(LH2FaceHead, vmf_dim=6, density_ratio=False), batch()
    kappa = norms(z)
    s = kappa[:, None] * cosines(head, z)
    m = 0.35 * kappa.mean()
    positive = [
        np.log1p(sum(np.exp(m - s[i, p]) for i in range(5) if y[i] == p)) for p in set(y.tolist())
    ]
    negative = [np.log1p(sum(np.exp(s[i, p] + m) for i in range(5) if y[i] != p)) for p in range(C)]
    terms = head.loss(z, y)
    assert terms["loss_positive"].item() == pytest.approx(np.mean(positive))
    assert terms["loss_negative"].item() == pytest.approx(np.mean(negative))
    # In the softmax over one sample, terms that depend on κ alone cancel.
    same = build(LH2FaceHead, vmf_dim=6).loss(z, y)
    assert terms["loss_vmf"].item() == pytest.approx(same["loss_vmf"].item())


def test_lh2face_margin_follows_the_norms_of_the_batch():
    head, (z, y) = build(LH2FaceHead), batch()
    for scale in (1, 3):
        margin = head.loss(scale * z, y)["margin"]
        torch.testing.assert_close(margin, 0.35 * scale * z.norm(dim=1).mean())


def test_lh2face_weights_multiply_their_terms():
    weights = {"positive": 2.0, "negative": 3.0, "proxy": 5.0}
    z, y = batch()
    plain = build(LH2FaceHead).loss(z, y)
    head = build(LH2FaceHead, **{f"{name}_weight": value for name, value in weights.items()})
    terms = head.loss(z, y)
    for name, weight in weights.items():
        torch.testing.assert_close(terms[f"loss_{name}"], weight * plain[f"loss_{name}"])
    torch.testing.assert_close(terms["loss_vmf"], plain["loss_vmf"])


@pytest.mark.parametrize("head_class", HEADS)
def test_running_statistics_do_not_change_in_evaluation(head_class):
    head = build(head_class)
    head.loss(*batch())
    before = {name: value.clone() for name, value in head.named_buffers()}
    z, y = batch()
    head.eval().loss(7 * z.flip(0), y)
    torch.testing.assert_close(dict(head.named_buffers()), before, rtol=0, atol=0)


def test_lh2face_mean_norm_is_a_running_mean_in_training_only():
    head = build(LH2FaceHead, norm_momentum=0.5)
    z, y = batch()
    first = z.norm(dim=1).mean()
    head.loss(z, y)
    assert head.mean_norm == first
    head.loss(3 * z, y)
    torch.testing.assert_close(head.mean_norm, 2 * first)
    head.eval()
    head.loss(9 * z, y)
    torch.testing.assert_close(head.mean_norm, 2 * first)


@pytest.mark.parametrize("head_class", HEADS)
def test_gradients_pass_gradcheck(head_class):
    head, (z, y) = build(head_class).eval(), batch()
    if head_class is LH2FaceHead:
        head.mean_norm.fill_(5.0)
    if head_class is SCFHead:  # its terms have no gradient for parts of the input
        pytest.skip("see test_scf_likelihood_trains_the_norm_alone_and_the_softmax_the_direction")
    # AdaFace treats the norm as a constant.
    fixed = (lambda e: 9 * unit(e)) if head_class is AdaFaceHead else (lambda e: e)
    leaves = [(2 * z).requires_grad_(), head.proxies.weight]
    assert torch.autograd.gradcheck(lambda e, _: total(head.loss(fixed(e), y)), leaves)


@pytest.mark.parametrize("head_class", HEADS)
@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.ones(2, D), torch.tensor([0, C]), "labels: expected 0 … 6"),
        (torch.ones(2, D), torch.tensor([-1, 0]), "labels: expected 0 … 6"),
        (torch.ones(2, D), torch.tensor([0.0, 1.0]), "of int64"),
        (torch.ones(2, D), torch.tensor([0]), "labels: expected"),
        (torch.ones(0, D), torch.zeros(0, dtype=torch.int64), "empty batch"),
        (torch.ones(2, D + 1), torch.tensor([0, 1]), "embeddings: expected"),
        (torch.full((2, D), torch.nan), torch.tensor([0, 1]), "finite"),
        (torch.full((2, D), torch.inf), torch.tensor([0, 1]), "finite"),
    ],
)
def test_bad_input_is_named(head_class, embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        head_class(C, D).loss(embeddings, labels)


def test_every_registered_head_is_tested():
    registered = {kind for kind in MODELS.module_dict.values() if issubclass(kind, ProxyHead)}
    assert registered == set(HEADS)


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
@pytest.mark.parametrize("head_class", HEADS)
@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    samples=st.lists(
        st.tuples(
            st.integers(0, C - 1),
            st.sampled_from([0.0, 1e-45, 1e-20, 1e-3, 1.0, 1e3, 1e12, 1e18, 1e20, 3e38]),
        ),
        min_size=1,
        max_size=6,
    ),
    training=st.booleans(),
)
def test_finite_input_gives_finite_terms_and_gradients(
    head_class, sharded, dtype, samples, training
):
    torch.manual_seed(0)
    config = {"type": head_class.__name__, "num_classes": C, "in_channels": D}
    head = MODELS.build({"type": "ShardedHead", "head": config} if sharded else config)
    labels, scales = zip(*samples, strict=True)
    z = torch.tensor(scales, dtype=torch.float64)[:, None] * torch.randn(len(labels), D)
    most = torch.finfo(dtype).max
    z = z.clamp(-most, most).to(dtype).requires_grad_()
    terms = head.train(training).loss(z, torch.tensor(labels))
    total(terms).backward()
    assert all(value.isfinite() for value in terms.values()), terms
    assert z.grad.isfinite().all()
    for name, value in head.named_parameters():
        assert value.grad.isfinite().all(), name


def test_the_direction_is_exact_for_embeddings_of_any_length():
    head, (z, y) = build(ArcFaceHead).float(), batch()
    expected = head.loss(z.float(), y)["loss"]
    for scale in (1e-6, 1e17, 1e30, 1e37):
        torch.testing.assert_close(head.loss((scale * z).float(), y)["loss"], expected)


@pytest.mark.parametrize(
    ("head_class", "arguments", "message"),
    [
        (NormFaceHead, {"scale": math.nan}, "scale: expected a finite number above 0, found nan"),
        (CosFaceHead, {"scale": -1}, "scale: expected a finite number above 0, found -1"),
        (CosFaceHead, {"scale": "64"}, "scale: expected a finite number above 0, found '64'"),
        (CosFaceHead, {"scale": True}, "scale: expected a finite number above 0, found True"),
        (CosFaceHead, {"margin": 2.5}, "margin: expected a finite number from 0 to 2, found 2.5"),
        (ArcFaceHead, {"margin": 4}, "margin: expected a finite number from 0 to 3.1416, found 4"),
        (ArcFaceHead, {"margin": -0.1}, "margin: expected"),
        (SCFHead, {"margin": math.inf}, "margin: expected"),
        (CurricularFaceHead, {"momentum": 1.1}, "momentum: expected a finite number from 0 to 1"),
        (CurricularFaceHead, {"margin": 3.2}, "margin: expected"),
        (AdaFaceHead, {"concentration": 0}, "concentration: expected a finite number above 0"),
        (AdaFaceHead, {"momentum": -0.01}, "momentum: expected"),
        (MagFaceHead, {"norm_range": (110, 10)}, "norm_range: expected two rising numbers"),
        (MagFaceHead, {"norm_range": (10, 10)}, "norm_range: expected two different numbers"),
        (MagFaceHead, {"norm_range": 10}, "norm_range: expected two numbers, found 10"),
        (MagFaceHead, {"norm_range": (0, 10)}, "norm_range: expected .* at least 0.001, found 0"),
        (MagFaceHead, {"margin_range": (0.4, 4)}, "margin_range: expected .* found 4"),
        (MagFaceHead, {"norm_weight": -1}, "norm_weight: expected .* at least 0, found -1"),
        (ProxyAnchorHead, {"margin": math.nan}, "margin: expected"),
        (LH2FaceHead, {"vmf_dim": 1}, "vmf_dim: expected a whole number of at least 2, found 1"),
        (LH2FaceHead, {"vmf_dim": 2.5}, "vmf_dim: expected a whole number of at least 2, found 2"),
        (LH2FaceHead, {"margin_factor": math.nan}, "margin_factor: expected"),
        (LH2FaceHead, {"positive_weight": -1}, "positive_weight: expected"),
        (LH2FaceHead, {"negative_weight": math.inf}, "negative_weight: expected"),
        (LH2FaceHead, {"proxy_weight": None}, "proxy_weight: expected"),
        (LH2FaceHead, {"norm_momentum": 2}, "norm_momentum: expected"),
        (NormFaceHead, {"num_classes": 0}, "num_classes: expected a whole number of at least 1"),
        (NormFaceHead, {"num_classes": 2.0}, "num_classes: expected a whole number"),
        (NormFaceHead, {"in_channels": 0}, "in_channels: expected a whole number of at least 1"),
    ],
)
def test_bad_argument_is_named(head_class, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        head_class(**{"num_classes": C, "in_channels": D, **arguments})
    assert "\n" not in str(error.value)
