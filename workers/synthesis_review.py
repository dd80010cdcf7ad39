"""Between selection and export, where a person wants to look: the review's file, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arena.contracts import InvalidInput
from arena.synthesis.review import Decision, Item, Review, read_review, write_review
from workers.content import content_address
from workers.jobs import Context
from workers.rollouts import open_rollout, rollout_reference
from workers.settings import REVIEWS
from workers.synthesis_plan import SynthesisRequest
from workers.synthesis_specs import KeptAttempt

ADDRESS_LETTERS = 12


class Waiting(Exception):
    """A person has not decided on everything yet. `facts` are for `--json`."""

    def __init__(self, path: Path, review: Review) -> None:
        self.facts: dict[str, Any] = {"review": str(path), "waiting": review.waiting, "selected": len(review.items)}
        super().__init__(
            f"{review.waiting} of {len(review.items)} trials wait to be accepted, rejected or trimmed: open "
            "`dreamarena ui`, page Review, and run the same command again"
        )


def review_path(context: Context, request: SynthesisRequest, chosen: Sequence[KeptAttempt]) -> Path:
    """Where the review of this very selection is."""
    address = content_address([str(request.out.resolve()), [kept.model_dump(mode="json") for kept in chosen]])
    return context.settings.home.absolute() / REVIEWS / f"{request.out.name}-{address[:ADDRESS_LETTERS]}.json"


def reviewed(
    context: Context, path: Path, request: SynthesisRequest, chosen: Sequence[KeptAttempt]
) -> list[KeptAttempt]:
    """What was accepted, as it was trimmed. Raises `Waiting`, and `InvalidInput` where nothing was accepted."""
    if not path.is_file():
        items = tuple(_item(context, kept) for kept in chosen)
        write_review(path, Review(str(request.out.resolve()), items))
    review = read_review(path)
    if review.waiting:
        raise Waiting(path, review)
    if not review.accepted:
        raise InvalidInput(f"nothing was accepted in the review {path.name}, so there is nothing to export")
    by_rollout = {kept.judged.rollout: kept for kept in chosen}
    return [
        by_rollout[item.rollout].model_copy(update={"frames": item.frames, "first": item.first, "reviewed": True})
        for item in review.accepted
    ]


def _item(context: Context, kept: KeptAttempt) -> Item:
    judged = kept.judged
    assert judged.rollout is not None, "what broke off is never selected"
    reference = rollout_reference(judged.rollout)
    rollout, _ = open_rollout(context.artifacts, reference)
    return Item(
        rollout=judged.rollout, artifact=reference, task=judged.attempt.task, instruction=judged.attempt.label,
        probability=judged.probability, length=len(rollout.state), frames=kept.frames, first=kept.first,
        decision=Decision.WAITING,
    )  # fmt: skip
