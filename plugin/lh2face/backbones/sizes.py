"""What the backbones ask of their input size."""

STRIDE = 16


def final_size(image_size: int) -> int:
    """Side of the last feature map of a backbone that halves its input four times.

    Args:
        image_size: Side of the square input, px.

    Returns:
        ``image_size / 16``.

    Raises:
        ValueError: If ``image_size`` is not a positive multiple of 16.
    """
    if image_size < STRIDE or image_size % STRIDE:
        raise ValueError(
            f"image_size: expected a positive multiple of {STRIDE}, found {image_size!r}"
        )
    return image_size // STRIDE
