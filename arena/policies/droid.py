"""What openpi's DROID policies are sent, and what their answers mean.

Keys, image treatment and clipping are those of openpi's `examples/droid/main.py` and `openpi_client.image_tools`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arena.contracts import ActionSpace, FloatArray, Frames, InvalidInput, Observation

IMAGE_SIZE = (224, 224)
"""(H, W) of the images that openpi's models take."""
WRIST_CAMERA = "wrist"
VELOCITY_SPACES = (ActionSpace.JOINT_VELOCITY, ActionSpace.CARTESIAN_VELOCITY)
MAX_CHUNK = 1024
"""Actions in one answer that are still believed."""

DROID_COMMANDED_VELOCITY = 3.0
"""rad/s that DROID's controller is *commanded* to move at for a joint action of 1.

`droid/robot_ik/robot_ik_solver.py`: an action of 1 sets a target `max_joint_delta` = 0.2 rad ahead of the
measured joints, 15 times a second.
"""
DROID_ACHIEVED_VELOCITY = 0.74
"""rad/s that DROID's robots *achieve* for a joint action of 1, and our default.

The target is set anew from the measured joints at each step, and the compliant impedance controller covers
about a quarter of the way in 1/15 s. Least squares of the joints' displacement over 1 s on the integrated
actions of the 7 DROID episodes of the Ctrl-World sample gives 0.049 rad per step (0.039 to 0.056 per episode,
R2 = 0.88): 0.74 rad/s. Integrating the commanded 3 rad/s overshoots fourfold.
"""


def droid_request(observation: Observation, exterior_camera: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """The map that an openpi DROID server takes: two `(H, W, 3)` uint8 images, `(7,)` and `(1,)` float32, the prompt.

    Raises `InvalidInput` where the observation lacks a camera or the joint positions.
    """
    joints = joint_position(observation)
    return {
        "observation/exterior_image_1_left": resize_with_pad(camera(observation.cameras, exterior_camera), *image_size),
        "observation/wrist_image_left": resize_with_pad(camera(observation.cameras, WRIST_CAMERA), *image_size),
        "observation/joint_position": joints,
        "observation/gripper_position": np.asarray(observation.gripper_position, dtype="<f4"),
        "prompt": observation.instruction,
    }


def camera(cameras: Mapping[str, Frames], name: str) -> Frames:
    """The `(H, W, 3)` image of one camera; raises `InvalidInput` that lists the others."""
    if name not in cameras:
        raise InvalidInput(f"the observation has no camera {name!r}, only {', '.join(sorted(cameras))}")
    return cameras[name]


def joint_position(observation: Observation) -> NDArray[np.float32]:
    """`(7,)` rad; raises `InvalidInput` where the world does not tell."""
    if observation.joint_position is None:
        raise InvalidInput("the observation has no joint_position, which DROID policies need")
    return np.asarray(observation.joint_position, dtype="<f4")


def resize_with_pad(image: Frames, height: int, width: int) -> Frames:
    """`(H, W, 3)` uint8 to `(height, width, 3)`: bilinear, the aspect ratio kept, black bars, as openpi-client does."""
    if image.shape[:2] == (height, width):
        return image
    ratio = max(image.shape[1] / width, image.shape[0] / height)
    # Truncated rather than rounded, and in this order of operations, to give openpi's pixels exactly.
    inner_height, inner_width = int(image.shape[0] / ratio), int(image.shape[1] / ratio)
    inner = Image.fromarray(image).resize((inner_width, inner_height), Image.Resampling.BILINEAR)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    padded = np.zeros((height, width, 3), dtype=np.uint8)
    padded[top : top + inner_height, left : left + inner_width] = np.asarray(inner)
    return padded


def stretched(image: Frames, height: int, width: int) -> Frames:
    """`(H, W, 3)` uint8 to `(height, width, 3)`, whatever that does to the aspect ratio: as RoboArena's client does."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def checked_actions(answer: Any, space: ActionSpace) -> FloatArray:
    """The `(N, D)` float64 actions of a server's answer, D being the width of `space`, still in the server's units.

    Raises `InvalidInput` where they are missing, not numbers, of another shape, NaN or infinite.
    """
    values = raw_actions(answer)
    if values.ndim != 2 or not 0 < len(values) <= MAX_CHUNK or values.shape[1] != space.width:
        raise InvalidInput(
            f"the server answered actions of shape {values.shape}; "
            f"{space} needs (N, {space.width}) with N from 1 to {MAX_CHUNK}"
        )
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InvalidInput(f"the server answered {values[row, column]} in action {row}, number {column}")
    return values.astype(np.float64)


def raw_actions(answer: Any) -> NDArray[Any]:
    """The array under `actions` in a server's answer; raises `InvalidInput` where there is no array of numbers."""
    if not isinstance(answer, dict):
        raise InvalidInput(f"the server answered a {type(answer).__name__} where a map with 'actions' was due")
    values = answer.get("actions")
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        found = values.dtype.str if isinstance(values, np.ndarray) else type(values).__name__
        keys = ", ".join(sorted(str(key) for key in answer))[:120]
        raise InvalidInput(f"the server's 'actions' must be an array of numbers, not {found} (keys: {keys})")
    return values


def binarised(values: FloatArray) -> FloatArray:
    """`(N, D)` actions whose gripper, the last number, is 1 (closed) above 0.5 and else 0, as DROID's clients do."""
    return np.concatenate([values[:, :-1], (values[:, -1:] > 0.5).astype(values.dtype)], axis=1)


def to_contract_units(values: FloatArray, space: ActionSpace, velocity_scale: float | None) -> FloatArray:
    """`(N, D)` actions of a policy in the units of `arena.contracts`.

    `velocity_scale` is what a velocity of 1 means, in rad/s (for `cartesian_velocity` in m/s and rad/s alike);
    such normalised velocities are clipped to [-1, 1] first, as DROID's client does. None says that they are in
    SI units already. Positions are rad or m as they come. The gripper, last, is clipped to [0, 1].
    """
    converted = np.array(values, dtype=np.float64)
    if velocity_scale is not None and space in VELOCITY_SPACES:
        converted[:, :-1] = np.clip(converted[:, :-1], -1.0, 1.0) * velocity_scale
    converted[:, -1] = np.clip(converted[:, -1], 0.0, 1.0)
    return converted
