"""The step `reconstruct`: a digital twin of one episode's scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arena.contracts import InvalidInput
from workers.content import content_address
from workers.evaluation import Dataset
from workers.jobs import Context, Inputs, Json, Queue, Step

MADE_FROM = "made_from.sha256"
"""In a twin's folder, written last: of the inputs that it was made from."""


class TwinSettings(Inputs):
    """`real2sim.reconstruct.BuildSettings`, as a message carries them."""

    wrist_frames: int
    steps: int
    seed: int
    engine: str
    focals: tuple[tuple[str, float], ...]
    segmenter: str
    generator: str
    filmed_as: float | None
    calibration: dict[str, Any]


class ReconstructInputs(Inputs):
    """The twin of `episode` goes to `out`; `code` is the version that makes it, as another one would differ."""

    dataset: Dataset
    episode: str
    out: str
    settings: TwinSettings
    code: str


def reconstruct(inputs: ReconstructInputs, context: Context) -> Json:
    """Make the twin, or go on with it; a twin that fails a gate is refused, which is a result. `out` has the report."""
    from real2sim.reconstruct import BuildSettings, build_twin

    found = [episode for episode in inputs.dataset.episodes(context) if episode.id == inputs.episode]
    if not found:
        raise InvalidInput(f"{inputs.dataset.path} no longer holds {inputs.episode}")
    settings = BuildSettings(**inputs.settings.model_dump())
    said = 0

    def report(line: str) -> None:
        nonlocal said
        said += 1
        context.progress(said, 0, line)

    made_from = Path(inputs.out) / MADE_FROM
    made_from.unlink(missing_ok=True)
    built = build_twin(found[0], Path(inputs.out), settings, code=inputs.code, report=report)
    made_from.write_text(_digest(inputs))
    return {"twin": inputs.out, "accepted": built.accepted, "reason": built.reason}


def intact(inputs: ReconstructInputs, context: Context) -> bool:
    """Whether the folder still holds what was made of these inputs: another build may have gone to the same."""
    try:
        return (Path(inputs.out) / MADE_FROM).read_text() == _digest(inputs)
    except (OSError, UnicodeDecodeError, InvalidInput):
        return False


def _digest(inputs: ReconstructInputs) -> str:
    """Of what the job says, of robots that are described beside it, and of the tools that it names.

    Raises `InvalidInput` for a tool that is not there.
    """
    from real2sim.reconstruct import BuildSettings, tools_digest
    from real2sim.robots import known_robots

    tools = tools_digest(BuildSettings(**inputs.settings.model_dump()))
    return content_address([inputs.model_dump(mode="json"), [robot.source for robot in known_robots()], tools])


STEP = Step("reconstruct", ReconstructInputs, reconstruct, intact, needs=Queue.GPU)
