"""Views of mirrored images, and the loss that compares them."""

from torch import Tensor

# Signs of a view (rx, ry, rz, tx, ty, tz) in a mirror: with S = diag(−1, 1, 1), S·Rz·Ry·Rx·S keeps
# rx and negates ry and rz; S·t negates tx.
MIRRORED_VIEW = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)


def mirror_view(view: Tensor) -> Tensor:
    """Convert the view of an image to that of the image mirrored left to right.

    Args:
        view: ``(B, 6)``: rx, ry, rz in rad, tx, ty, tz.

    Returns:
        ``(B, 6)`` in the same order.
    """
    return view * view.new_tensor(MIRRORED_VIEW)


def view_consistency_loss(view: Tensor, view_of_mirrored: Tensor, prior: float) -> Tensor:
    """Loss L_view: the view of the mirrored image should be the mirrored view; plus a weak prior.

    ``L_view = mean |v(flip I) − M v(I)|² + prior · mean |v(I)|²``, where M is :func:`mirror_view`.
    This formula is our own: arXiv 2506.23555 does not define L_view.

    Args:
        view: ``(B, 6)`` views of the images.
        view_of_mirrored: ``(B, 6)`` views of the images mirrored left to right.
        prior: Weight of the prior, which favours the frontal view, ≥ 0.

    Returns:
        Scalar.
    """
    asymmetry = (view_of_mirrored - mirror_view(view)).square().mean()
    return asymmetry + prior * view.square().mean()
