"""Which features of a LeRobot dataset are the state, the actions and the cameras: by known names, or by declaration.

Three namings say what their columns mean: this project's own writer, DROID's conversion for LeRobot, and openpi's DROID
conversion (which has joints only). Anything else has to be declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arena.contracts import ActionSpace
from arena.episodes import lerobot_layout as layout
from arena.episodes.declaration import DECLARATION, ActionDeclaration, Columns, Declaration, Gripper, StateDeclaration
from arena.episodes.errors import BadAnnotation, MissingCamera, UndeclaredLayout
from arena.episodes.files import read_json

CAMERA_NAMES = {
    "exterior_1_left": "exterior_1",
    "exterior_2_left": "exterior_2",
    "wrist_left": "wrist",
    "exterior_image_1_left": "exterior_1",
    "exterior_image_2_left": "exterior_2",
    "wrist_image_left": "wrist",
}
"""DROID's names for its left stereo cameras, and ours."""

_FRAME_TYPES = ("video", "image")


def lerobot_declaration(root: Path, features: Mapping[str, Any], given: Declaration | None) -> Declaration:
    """What the features mean: `given` where there is one, else what their names say.

    Raises `UndeclaredLayout` where the names say nothing, `MissingCamera` where there is none.
    """
    if given is not None:
        if given.format != "lerobot":
            raise BadAnnotation(f"{given.path} declares format {given.format!r}, but {root} is a LeRobot dataset")
        return given
    widths = {name: _width(feature) for name, feature in features.items()}
    cameras = _cameras(features)
    if not cameras:
        raise MissingCamera(f"{root} has no video or image feature")
    if widths.get(layout.CARTESIAN) == 6 and widths.get(layout.GRIPPER) == 1:
        state = StateDeclaration(
            kind="recorded",
            gripper_position=_gripper(layout.GRIPPER),
            cartesian_position=_span(layout.CARTESIAN, 6),
            joint_position=_span(layout.JOINTS, 7) if widths.get(layout.JOINTS) == 7 else None,
        )
        action = _own_action(root, widths) or _droid_action(widths)
    elif widths.get("joint_position") == 7 and widths.get("gripper_position") == 1:
        # openpi's names. Its `actions` are joint velocities in one example and positions in another: taken only from
        # datasets that were written here.
        state = StateDeclaration("recorded", _gripper("gripper_position"), None, _span("joint_position", 7))
        action = _own_action(root, widths, layout.ACTIONS)
    else:
        raise UndeclaredLayout(
            f"{root}: nothing says which features are the robot's pose and gripper ({', '.join(sorted(features))}); "
            f"declare them in {root / DECLARATION} or pass --layout"
        )
    success = next((name for name in ("is_episode_successful", "next.success") if name in features), "")
    return Declaration(root / layout.INFO, "lerobot", state, cameras, success=success, action=action)


def _own_action(root: Path, widths: Mapping[str, int], feature: str = layout.ACTION) -> ActionDeclaration | None:
    path = root / layout.DECLARATION
    if not path.exists() or feature not in widths:
        return None
    declared = read_json(path)
    try:
        space, scale = ActionSpace(str(declared.get("action_space"))), float(declared.get("velocity_scale", 1.0))
    except (ValueError, TypeError):
        raise BadAnnotation(f"{path}: action_space is not one of {', '.join(ActionSpace)}, or no scale") from None
    if widths[feature] != space.width:
        raise BadAnnotation(f"{path}: {space} has {space.width} numbers, but the actions have {widths[feature]}")
    gripper = Gripper(Columns(feature, (space.width - 1,)), open=0.0, closed=1.0)
    arm = Columns(feature, tuple(range(space.width - 1)), (scale,) * (space.width - 1))
    return ActionDeclaration("recorded", space, arm, gripper)


def _droid_action(widths: Mapping[str, int]) -> ActionDeclaration | None:
    pose, gripper = "action.cartesian_position", "action.gripper_position"
    if widths.get(pose) != 6 or widths.get(gripper) != 1:
        return None
    return ActionDeclaration("recorded", ActionSpace.CARTESIAN_POSITION, _span(pose, 6), _gripper(gripper))


def _cameras(features: Mapping[str, Any]) -> dict[str, str]:
    cameras = {}
    for feature, description in features.items():
        if description.get("dtype") in _FRAME_TYPES and not _is_depth(description):
            name = feature.removeprefix(layout.CAMERA)
            cameras[CAMERA_NAMES.get(name, name)] = feature
    return cameras


def _is_depth(description: Mapping[str, Any]) -> bool:
    info = description.get("info") or description.get("video_info") or {}
    return isinstance(info, dict) and bool(info.get("is_depth_map") or info.get("video.is_depth_map"))


def _width(feature: Any) -> int:
    shape = feature.get("shape") if isinstance(feature, dict) else None
    return shape[0] if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) else 0


def _span(feature: str, width: int) -> Columns:
    return Columns(feature, tuple(range(width)))


def _gripper(feature: str) -> Gripper:
    return Gripper(Columns(feature, (0,)), open=0.0, closed=1.0)
