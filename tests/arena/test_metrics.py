"""PSNR and SSIM against numbers computed with scikit-image 0.26."""

from __future__ import annotations

import numpy as np
import pytest

from arena.contracts import Frames, InvalidInput
from arena.metrics import psnr, ssim

# skimage.metrics.structural_similarity(a, b, channel_axis=-1, gaussian_weights=True, sigma=1.5,
# use_sample_covariance=False, data_range=255) and peak_signal_noise_ratio(a, b, data_range=255) on `videos()`.
SKIMAGE_SSIM = (0.9955682310547607, 0.8693280677761507, 0.23952869127034093)
SKIMAGE_PSNR = (42.03730555694159, 26.570896950179783, 13.303722387016848)


def videos() -> tuple[Frames, Frames]:
    """Three smooth frames of 24 x 32 and the same with ever stronger noise."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:24, 0:32]
    base = np.stack([127 + 100 * np.sin(x / 5 + t) * np.cos(y / 4) for t in range(3)])
    clean = np.stack([base, np.roll(base, 3, 2), 255 - base], -1)
    noise = np.array([2.0, 12.0, 60.0])[:, None, None, None] * rng.standard_normal(clean.shape)
    return np.clip(clean, 0, 255).astype(np.uint8), np.clip(clean + noise, 0, 255).astype(np.uint8)


def test_equal_to_scikit_image() -> None:
    clean, noisy = videos()
    np.testing.assert_allclose(psnr(noisy, clean), SKIMAGE_PSNR, rtol=1e-6)
    np.testing.assert_allclose(ssim(noisy, clean), SKIMAGE_SSIM, atol=1e-5)


def test_equal_frames() -> None:
    clean, _ = videos()
    assert np.isposinf(psnr(clean, clean)).all()
    np.testing.assert_allclose(ssim(clean, clean), 1.0, atol=1e-6)


def test_symmetric() -> None:
    clean, noisy = videos()
    np.testing.assert_allclose(ssim(clean, noisy), ssim(noisy, clean), atol=1e-6)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (np.zeros((3, 24, 31, 3), np.uint8), "unequal shape"),
        (np.zeros((3, 24, 32, 3), np.float32), "uint8"),
        (np.zeros((24, 32, 3), np.uint8), r"\(T, H, W, 3\)"),
    ],
)
def test_unlike_videos_are_refused(other: Frames, says: str) -> None:
    clean, _ = videos()
    for metric in (psnr, ssim):
        with pytest.raises(InvalidInput, match=says):
            metric(clean, other)


def test_frames_smaller_than_the_window_are_refused() -> None:
    small = np.zeros((1, 10, 40, 3), np.uint8)
    with pytest.raises(InvalidInput, match="11 x 11"):
        ssim(small, small)
