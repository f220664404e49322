"""Alignment of faces: a five-point similarity transform to a square crop, as in insightface."""

import cv2
import numpy as np

from lh2face.data.images import ImageError, decode_rgb

# insightface's template: (x, y) of eyes, nose and mouth corners in a 112 × 112 crop.
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)
TEMPLATE_SIZE = 112
# Order of the landmarks after mirroring, because "left" means left in the image.
MIRRORED_LANDMARKS = [1, 0, 2, 4, 3]
# File beside the records that stage align wrote: the landmarks of each face in px of the crop, in
# the order of the records, (N, 5, 2) float32.
ALIGNED_LANDMARKS = "aligned_landmarks.npy"
# Values that detectors write for a landmark that they did not find.
FILL = (0.0, -1.0)
# Least standard deviation of five landmarks in px; below it a crop is enlarged 30 times or more.
LEAST_SPREAD = 1.0
# How far the right eye is to the right of the left eye, divided by the distance between eyes and
# mouth: 0.87 in the template, ≥ 0.1 in the profiles of CFP, negative if the eyes are swapped.
LEAST_EYES = -0.25


def check_landmarks(landmarks: np.ndarray, height: int, width: int) -> None:
    """Check that five landmarks are plausible for a face in an image.

    Args:
        landmarks: ``(5, 2)`` x, y of left eye, right eye, nose, left and right mouth corner in px;
            left means left in the image.
        height: Height of the image in px.
        width: Width of the image in px.

    Raises:
        ValueError: If they are not five finite points; if one is (0, 0) or (−1, −1), as detectors
            write for a missing landmark; if all are nearly the same point; if one lies outside the
            image by more than half of its longer side, or their mean lies outside; or if left and
            right are swapped.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ValueError(f"landmarks: expected five finite (x, y), found {points.tolist()}")
    for fill in FILL:
        if (points == fill).all(axis=1).any():
            raise ValueError(
                f"landmarks: one is ({fill:g}, {fill:g}), which detectors write for a landmark "
                "that they did not find"
            )
    if np.sqrt(points.var(axis=0).sum()) < LEAST_SPREAD:
        raise ValueError(f"landmarks: all five are nearly the same point, {points[0].tolist()}")
    sides, margin, centre = np.array([width, height]), max(height, width) / 2, points.mean(axis=0)
    outside = ((points < -margin) | (points > sides + margin)).any(axis=1)
    if outside.any() or (centre < 0).any() or (centre > sides).any():
        found = points[outside.argmax()] if outside.any() else centre
        raise ValueError(
            f"landmarks: {found.round(1).tolist()} is outside the image of {width} × {height} px"
        )
    eyes, down = points[1] - points[0], points[3:].mean(axis=0) - points[:2].mean(axis=0)
    if eyes[0] * down[1] - eyes[1] * down[0] < LEAST_EYES * (down @ down):
        raise ValueError(
            "landmarks: the eyes are swapped; the first must be the left one in the image"
        )


def estimate_norm(landmarks: np.ndarray, size: int = 112) -> np.ndarray:
    """Estimate the least-squares similarity from landmarks to the template (Umeyama, PAMI 1991).

    Args:
        landmarks: ``(5, 2)`` x, y of left eye, right eye, nose, left and right mouth corner in px.
        size: Side of the crop in px, a multiple of 112 or 128.

    Returns:
        ``(2, 3)`` float64: a matrix of rotation and scale, then the translation as last column.

    Raises:
        ValueError: If the landmarks have another shape, are not finite or all equal, or ``size`` is
            not allowed.
    """
    landmarks = np.asarray(landmarks)
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks: expected five finite (x, y), found {landmarks.tolist()}")
    if size % 112 and size % 128:
        raise ValueError(f"size: expected a multiple of 112 or 128, found {size}")
    ratio, shift = (size / 112, 0.0) if size % 112 == 0 else (size / 128, 8.0 * size / 128)
    # Keep float32 up to the SVD, as in insightface: a shift of 1e-6 px already changes pixels.
    target = TEMPLATE * np.float32(ratio)
    target[:, 0] += shift

    source_mean, target_mean = landmarks.mean(axis=0), target.mean(axis=0)
    source, target = landmarks - source_mean, target - target_mean
    variance = source.var(axis=0).sum()
    if variance == 0:
        raise ValueError(f"landmarks: all five are the same point {landmarks[0].tolist()}")
    covariance = target.T @ source / 5
    signs = np.array([1.0, -1.0 if np.linalg.det(covariance) < 0 else 1.0])
    U, singular, Vt = np.linalg.svd(covariance)
    scale = 1.0 / variance * (singular @ signs)
    rotation = np.zeros((2, 2)) + U @ np.diag(signs) @ Vt
    return np.hstack(
        [scale * rotation, (target_mean - scale * (rotation @ source_mean))[:, None]],
        dtype=np.float64,
    )


def aligned_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Compute where the landmarks of a photo are in its aligned crop.

    Args:
        landmarks: ``(5, 2)`` x, y in px of the photo.

    Returns:
        ``(5, 2)`` float32 x, y in px of the crop of 112 × 112 px.

    Raises:
        ValueError: If :func:`estimate_norm` raises it.
    """
    moved: np.ndarray = np.hstack([landmarks, np.ones((5, 1))]) @ estimate_norm(landmarks).T
    return moved.astype(np.float32)


def norm_crop(image: np.ndarray, landmarks: np.ndarray, size: int = 112) -> np.ndarray:
    """Crop a face to ``size`` × ``size`` px by its landmarks; pixels outside the image are black.

    Args:
        image: ``(H, W, 3)`` uint8, or ``(H, W)`` of any type that OpenCV can warp.
        landmarks: ``(5, 2)`` x, y in px of the image.
        size: Side of the crop in px, a multiple of 112 or 128.

    Returns:
        ``(size, size, 3)`` or ``(size, size)``, of the image's type.

    Raises:
        ValueError: If :func:`estimate_norm` raises it.
    """
    return cv2.warpAffine(image, estimate_norm(landmarks, size), (size, size), borderValue=0.0)


def aligned_face(
    encoded: bytes, landmarks: np.ndarray, source: str, *, check: bool = True
) -> np.ndarray:
    """Decode a photo and crop its aligned face.

    Args:
        encoded: The encoded photo.
        landmarks: ``(5, 2)`` x, y in px.
        source: Where the photo comes from, for messages.
        check: Whether to refuse landmarks that are not plausible, see :func:`check_landmarks`.

    Returns:
        ``(112, 112, 3)`` uint8 RGB.

    Raises:
        ImageError: If the photo cannot be decoded, or the landmarks cannot be used.
    """
    image = decode_rgb(encoded, None, source)
    try:
        if check:
            check_landmarks(landmarks, *image.shape[:2])
        return norm_crop(image, landmarks)
    except ValueError as error:
        raise ImageError(source, str(error)) from None


def check_aligned(encoded: bytes, source: str) -> np.ndarray:
    """Decode a face that is already aligned, and check its size.

    Returns:
        ``(112, 112, 3)`` uint8 RGB.

    Raises:
        ImageError: If it cannot be decoded or has another size.
    """
    image = decode_rgb(encoded, None, source)
    height, width = image.shape[:2]
    if (height, width) != (TEMPLATE_SIZE, TEMPLATE_SIZE):
        raise ImageError(
            source, f"expected an aligned face of {TEMPLATE_SIZE} × {TEMPLATE_SIZE} px, found "
            f"{width} × {height}"
        )  # fmt: skip
    return image
