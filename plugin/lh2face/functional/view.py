"""Views of mirrored images, and the loss that compares them."""

from torch import Tensor

# Signs of a view (rx, ry, rz, tx, ty, tz) in a mirror: with S = diag(−1, 1, 1), S·Rz·Ry·Rx·S keeps
# rx and negates ry and rz; S·t negates tx.
MIRRORED_VIEW = (1.0, -1.0, -1.0, -1.0, 1.0, 1.0)


def mirror_view(view: Tensor) -> Tensor:
    """Convert the view of an image to that of the image mirrored left to right.

    Args:
        view: ``(B, 6)``: rx, ry, rz in rad, tx, ty, tz in units of the depth.

    Returns:
        ``(B, 6)`` in the same order and units.
    """
    return view * view.new_tensor(MIRRORED_VIEW)


def view_consistency_loss(view: Tensor, view_of_mirrored: Tensor, prior: float) -> Tensor:
    """Compute L_view: the view of the mirrored image should be the mirrored view of the image.

    ``L_view = mean |v(flip I) − M v(I)|² + prior · mean |v(I)|²``, where M is :func:`mirror_view`,
    and the means are over the batch and the six numbers. The second term is a weak prior towards
    the frontal view. This formula is our own: arXiv 2506.23555 does not define L_view.

    Args:
        view: ``(B, 6)`` views v(I) of the images: rx, ry, rz in rad, tx, ty, tz in units of the
            depth.
        view_of_mirrored: ``(B, 6)`` views v(flip I) of the images mirrored left to right.
        prior: Weight of the prior, ≥ 0.

    Returns:
        Scalar, ≥ 0.
    """
    asymmetry = (view_of_mirrored - mirror_view(view)).square().mean()
    return asymmetry + prior * view.square().mean()
