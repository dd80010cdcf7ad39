"""How alike two videos are, frame by frame: PSNR and SSIM on uint8 RGB."""

from __future__ import annotations

import numpy as np

from arena.contracts import FloatArray, Frames, InvalidInput

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5
"""An 11 x 11 window, as in the paper."""
PEAK = 255.0


def psnr(video: Frames, reference: Frames) -> FloatArray:
    """Peak signal-to-noise ratio of each frame in dB, `(T,)`: infinite where two frames are equal.

    Both videos are `(T, H, W, 3)` uint8; raises `InvalidInput` otherwise.
    """
    _check_alike(video, reference)
    error = (video.astype(np.float32) - reference.astype(np.float32)) ** 2
    mean_error = error.mean(axis=(1, 2, 3), dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(PEAK**2 / mean_error))


def ssim(video: Frames, reference: Frames) -> FloatArray:
    """Structural similarity of each frame, `(T,)` in [-1, 1], mean over channels (Wang et al. 2004).

    Gaussian window of sigma 1.5 and 11 x 11 pixels, population covariance, K1 = 0.01, K2 = 0.03, and no
    value where the window leaves the frame. Both videos are `(T, H, W, 3)` uint8 with H and W at
    least 11; raises `InvalidInput` otherwise.
    """
    _check_alike(video, reference)
    if min(video.shape[1:3]) < 2 * SSIM_RADIUS + 1:
        size = 2 * SSIM_RADIUS + 1
        raise InvalidInput(f"SSIM needs frames of at least {size} x {size} pixels, not {video.shape[1:3]}")
    down, across = _window_matrix(video.shape[1]), _window_matrix(video.shape[2])
    return np.array([_ssim_frame(a, b, down, across) for a, b in zip(video, reference, strict=True)])


def _ssim_frame(frame: Frames, reference: Frames, down: FloatArray, across: FloatArray) -> float:
    """SSIM of two `(H, W, 3)` frames. One frame at a time keeps the five blurred images in the cache."""
    a, b = (image.transpose(2, 0, 1).astype(np.float32) for image in (frame, reference))
    images = np.stack((a, b, a * a, b * b, a * b))
    mean_a, mean_b, square_a, square_b, product = down @ (images @ across.T)
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    covariance = product - mean_a * mean_b
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    norm = (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return float((likeness / norm).mean(dtype=np.float64))


def _window_matrix(size: int) -> FloatArray:
    """`(size - 10, size)`: the Gaussian window along one axis, where it is all inside."""
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    window = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    matrix = np.zeros((size - 2 * SSIM_RADIUS, size), np.float32)
    for row in range(len(matrix)):
        matrix[row, row : row + len(window)] = window / window.sum()
    return matrix


def _check_alike(video: Frames, reference: Frames) -> None:
    for name, frames in (("video", video), ("reference", reference)):
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise InvalidInput(f"the {name} must be (T, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    if video.shape != reference.shape:
        raise InvalidInput(f"videos of unequal shape cannot be compared: {video.shape} and {reference.shape}")
