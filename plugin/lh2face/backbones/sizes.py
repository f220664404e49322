"""Check of the backbones' input size."""

STRIDE = 16
# Far above the size of an aligned face; a wrong number should not allocate all memory.
LARGEST = 1024


def final_size(image_size: int) -> int:
    """Side of the last feature map of a backbone that halves its input four times.

    Args:
        image_size: Side of the square input, px.

    Returns:
        ``image_size / 16``.

    Raises:
        ValueError: If ``image_size`` is not a multiple of 16 from 16 to 1024.
    """
    if not STRIDE <= image_size <= LARGEST or image_size % STRIDE:
        raise ValueError(
            f"image_size: expected a multiple of {STRIDE} from {STRIDE} to {LARGEST}, "
            f"found {image_size!r}"
        )
    return image_size // STRIDE
