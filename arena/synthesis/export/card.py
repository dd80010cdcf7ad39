"""The dataset card: what a dataset is, how it was judged, and what it must not be used for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arena.synthesis.export.segments import Shape
from arena.synthesis.export.targets import ExportSpec

MUST_NOT = (
    "**As evidence that a robot can do something.** Imagined frames show what a model believes, not what happened.",
    "**To measure a policy, a world model or a judge.** What was selected by a judge flatters everything that agrees "
    "with that judge, above all the judge itself.",
    "**As demonstrations of safe behaviour.** No contact force, collision or person near the robot was simulated or "
    "checked.",
    "**To train a world model or a judge as if it were recorded.** They would learn their own mistakes.",
    "**Without its `synthetic` column.** Keep it when you filter, mix or upload the episodes.",
)


@dataclass(frozen=True)
class CardNotes:
    """What only the maker of a dataset knows: how it was judged and chosen, in sentences, and how many were dropped."""

    judged: Sequence[str] = ()
    selection: Sequence[str] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    made_with: str = ""


@dataclass
class Census:
    """Counts over episodes, added one at a time."""

    frames: int = 0
    synthetic: int = 0
    real: int = 0
    worlds: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    judges: Counter[str] = field(default_factory=Counter)
    instructions: Counter[str] = field(default_factory=Counter)

    def add(self, facts: Mapping[str, Any]) -> None:
        """One segment's facts."""
        origin = facts["origin"]
        self.frames += facts["length"]
        self.synthetic += bool(origin["synthetic"])
        self.real += not origin["synthetic"]
        self.instructions[facts["instruction"]] += 1
        for counter, kind in ((self.worlds, "world"), (self.policies, "policy"), (self.judges, "judge")):
            if origin[kind]:
                counter[f"{origin[kind]} ({origin[f'{kind}_sha256'][:12]})"] += 1


def write_card(census: Census, shape: Shape, spec: ExportSpec, notes: CardNotes) -> str:
    """`README.md`, with the header that dataset hubs read."""
    total = census.synthetic + census.real
    head = ["---", "tags: [LeRobot, synthetic]", "task_categories: [robotics]", "configs:", "- config_name: default"]
    head += ["  data_files: data/*/*.parquet", "---", ""]
    kind = "Synthetic robot trajectories" if not census.real else "Synthetic and recorded robot trajectories"
    lines = [
        *head,
        f"# {kind}",
        "",
        f"{total} episodes, {census.frames:,} frames at {shape.fps:g} Hz of the robot `{shape.robot or 'unnamed'}`: "
        f"**{census.synthetic} are synthetic**, {census.real} were recorded. The column `synthetic` of each episode's "
        "metadata tells which.",
        "",
        "A synthetic episode is a rollout of a policy in a world model or a simulator. Its frames were generated, its "
        "states are what that world says, and its success is a judge's opinion.",
        "",
        "## What is in it",
        "",
        f"- Layout: {spec.format} (LeRobot {spec.layout.version}).",
        f"- Actions: `{shape.action_space}`, {_unit(shape, spec)}.",
        f"- Cameras: {', '.join(f'{name} {size[0]}x{size[1]}' for name, size in shape.cameras.items())}.",
        *_counted("World", census.worlds),
        *_counted("Policy", census.policies),
        "- Instructions: " + "; ".join(f"{text!r} ({count})" for text, count in census.instructions.most_common(20)),
        "",
        "## How it was judged",
        "",
        *(_counted("Judge", census.judges) or ["No judge looked at it."]),
        *(f"- {line}" for line in notes.judged),
        "- `success` of a synthetic episode is the judge's word, `judge_success_probability` how sure it was.",
        "",
        *_selection(notes),
        "## What it must not be used for",
        "",
        *(f"- {line}" for line in MUST_NOT),
        "",
    ]
    return "\n".join(lines + ([notes.made_with, ""] if notes.made_with else []))


def _unit(shape: Shape, spec: ExportSpec) -> str:
    if not spec.layout.openpi:
        return "SI units and radians, the gripper last (0 open, 1 closed)"
    if shape.action_space == "joint_velocity":
        return f"in openpi's DROID units (1 is {spec.velocity_scale:g} rad/s), the gripper last (0 open, 1 closed)"
    return "in rad, the gripper last (0 open, 1 closed)"


def _counted(what: str, counter: Counter[str]) -> list[str]:
    return [f"- {what}: {name}, {count} episodes." for name, count in counter.most_common()]


def _selection(notes: CardNotes) -> Iterable[str]:
    if not notes.selection and not notes.dropped:
        return []
    dropped = [f"- dropped as {reason}: {count}" for reason, count in sorted(notes.dropped.items())]
    return ["## How it was selected", "", *(f"- {line}" for line in notes.selection), *dropped, ""]
