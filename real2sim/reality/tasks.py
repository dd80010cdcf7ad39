"""Meta-World's tasks (arXiv 1910.10897): their names, their words, their scripted experts."""

from __future__ import annotations

import difflib
from types import MappingProxyType
from typing import Any

from arena.contracts import InvalidInput
from real2sim.engine import mujoco  # noqa: F401  (chooses the OpenGL before Meta-World imports MuJoCo)

from metaworld.env_dict import ALL_V3_ENVIRONMENTS  # isort: skip
from metaworld.policies import ENV_POLICY_MAP  # isort: skip

INSTRUCTIONS = MappingProxyType(
    {
        "assembly-v3": "put the ring on the peg",
        "basketball-v3": "put the ball into the basket",
        "bin-picking-v3": "move the cube to the other bin",
        "box-close-v3": "put the lid on the box",
        "button-press-topdown-v3": "press the button from above",
        "button-press-v3": "press the button",
        "coffee-button-v3": "press the button of the coffee machine",
        "coffee-pull-v3": "pull the mug away from the coffee machine",
        "coffee-push-v3": "push the mug under the coffee machine",
        "dial-turn-v3": "turn the dial",
        "door-close-v3": "close the door",
        "door-lock-v3": "lock the door",
        "door-open-v3": "open the door",
        "door-unlock-v3": "unlock the door",
        "drawer-close-v3": "close the drawer",
        "drawer-open-v3": "open the drawer",
        "faucet-close-v3": "turn the faucet off",
        "faucet-open-v3": "turn the faucet on",
        "hammer-v3": "hammer the nail in",
        "handle-press-v3": "press the handle down",
        "handle-pull-v3": "pull the handle up",
        "lever-pull-v3": "pull the lever up",
        "peg-insert-side-v3": "put the peg into the hole",
        "pick-place-v3": "pick up the puck and bring it to the goal",
        "plate-slide-v3": "slide the plate into the net",
        "push-v3": "push the puck to the goal",
        "reach-v3": "move the gripper to the goal",
        "soccer-v3": "push the ball into the net",
        "sweep-into-v3": "sweep the puck into the hole",
        "window-close-v3": "close the window",
        "window-open-v3": "open the window",
    }
)
"""What a person would say. Tasks that are not here are named in words made of their name."""


def task_names() -> tuple[str, ...]:
    """Every task that the stand-in reality knows."""
    return tuple(ALL_V3_ENVIRONMENTS)


def check_task(task: str) -> str:
    """`task` itself; raises `InvalidInput` with the nearest names where Meta-World has no such task."""
    if task in ALL_V3_ENVIRONMENTS:
        return task
    near = difflib.get_close_matches(task, ALL_V3_ENVIRONMENTS, n=3, cutoff=0.4) or ["drawer-open-v3", "reach-v3"]
    raise InvalidInput(f"Meta-World has no task {task!r}; did you mean {', '.join(near)}?")


def instruction(task: str) -> str:
    """The task in words."""
    return INSTRUCTIONS.get(check_task(task), task.removesuffix("-v3").replace("-", " "))


def expert(task: str) -> Any:
    """Meta-World's own scripted policy for the task: `get_action((39,)) -> (4,)`."""
    scripted: type[Any] = ENV_POLICY_MAP[check_task(task)]
    return scripted()
