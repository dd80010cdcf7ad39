"""Paraphrases by a language model: asked as judges are, and hostile until checked."""

from __future__ import annotations

from arena.contracts import InvalidInput
from arena.judges.vlm.asking import Asker, Sampling
from arena.judges.vlm.config import parse_vlm
from arena.judges.vlm.ledger import Ledger
from arena.synthesis.asked_phrasing import IDENTITY, ask_paraphrases
from workers.jobs import Context
from workers.replies import ArtifactReplies


def asked_paraphrases(context: Context, model: str, instruction: str, count: int, seed: int) -> tuple[str, ...]:
    """`count` wordings of an instruction by the model `MODEL@URL`. Its replies are kept, so a resumed run asks nothing.

    Raises `InvalidInput` for an address that is none, and where the model's answers hold too few usable wordings.
    """
    try:
        config = parse_vlm(f"vlm:{model}")
    except InvalidInput:
        raise InvalidInput(f"--paraphraser {model!r} is no model at an endpoint: write MODEL@http://HOST/v1") from None
    identity = {**IDENTITY, "model": config.model, "served_as": config.endpoint.url}
    asker = Asker(
        config.endpoint, config.model, identity, Sampling(temperature=1.0, seed=seed),
        ArtifactReplies(context.artifacts), Ledger(config.budget),
    )  # fmt: skip
    return ask_paraphrases(asker, instruction, count)
