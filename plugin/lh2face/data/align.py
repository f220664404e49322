"""Alignment: the five-point similarity to a square crop, as insightface's tools do it."""

import cv2
import numpy as np

# Five landmarks in a 112 × 112 crop (x, y): eyes, nose, mouth corners; the template of insightface.
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


def estimate_norm(landmarks: np.ndarray, size: int = 112) -> np.ndarray:
    """Least-squares similarity from landmarks to the template (Umeyama, PAMI 1991).

    Args:
        landmarks: ``(5, 2)`` left eye, right eye, nose, left and right mouth corner, px.
        size: Side of the crop, px, divisible by 112 or by 128.

    Returns:
        ``(2, 3)`` float64: rotation and scale, and translation.

    Raises:
        ValueError: If the landmarks have another shape, are not finite or all the same, or
            ``size`` is not allowed.
    """
    landmarks = np.asarray(landmarks)
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks: expected five finite (x, y), found {landmarks.tolist()}")
    if size % 112 and size % 128:
        raise ValueError(f"size: expected a multiple of 112 or 128, found {size}")
    ratio, shift = (size / 112, 0.0) if size % 112 == 0 else (size / 128, 8.0 * size / 128)
    # float32 stays float32 up to the singular values: a shift of 1e-6 px changes pixels.
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


def norm_crop(image: np.ndarray, landmarks: np.ndarray, size: int = 112) -> np.ndarray:
    """Crop a face to ``size`` × ``size`` by its landmarks; outside the image it is black.

    Args:
        image: ``(H, W, 3)`` uint8, or ``(H, W)`` of any type OpenCV warps.
        landmarks: ``(5, 2)`` in px of the image.
        size: Side of the crop, px.

    Returns:
        ``(size, size, 3)`` or ``(size, size)``, of the image's type.

    Raises:
        ValueError: As :func:`estimate_norm`.
    """
    return cv2.warpAffine(image, estimate_norm(landmarks, size), (size, size), borderValue=0.0)
