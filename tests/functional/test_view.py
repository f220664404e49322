"""Views of mirrored images, against rotations written out axis by axis."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from lh2face.functional.view import mirror_view, view_consistency_loss


def rotation(rx: float, ry: float, rz: float) -> torch.Tensor:
    """Rz·Ry·Rx, written out axis by axis."""
    a, b, c = (torch.tensor(v, dtype=torch.float64) for v in (rx, ry, rz))
    x = torch.tensor([[1, 0, 0], [0, a.cos(), -a.sin()], [0, a.sin(), a.cos()]])
    y = torch.tensor([[b.cos(), 0, b.sin()], [0, 1, 0], [-b.sin(), 0, b.cos()]])
    z = torch.tensor([[c.cos(), -c.sin(), 0], [c.sin(), c.cos(), 0], [0, 0, 1]])
    return (z @ y @ x).double()


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_mirrored_view_is_the_view_of_the_mirrored_scene(view):
    # Mirroring the scene at the plane x = 0 sends p' = R p + t to S p' = (S R S)(S p) + S t.
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    mirrored = mirror_view(torch.tensor([view], dtype=torch.float64))[0].tolist()
    torch.testing.assert_close(
        rotation(*mirrored[:3]), mirror @ rotation(*view[:3]) @ mirror, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        torch.tensor(mirrored[3:], dtype=torch.float64),
        mirror @ torch.tensor(view[3:], dtype=torch.float64),
    )


def test_view_loss_is_zero_only_where_the_views_agree():
    view = torch.randn(5, 6)
    assert view_consistency_loss(view, mirror_view(view), prior=0) == 0
    assert view_consistency_loss(view, view, prior=0) > 0
    expected = 0.5 * view.square().mean()
    torch.testing.assert_close(view_consistency_loss(view, mirror_view(view), 0.5), expected)
