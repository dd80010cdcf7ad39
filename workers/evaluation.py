"""What an evaluation is made of: which trials there are, cut into batches that workers share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from arena.contracts import Episode, InvalidInput, PolicyCard, Scene, WorldCard
from arena.rollout import rollout_id, scene_sha256
from arena.scenes import scene_from_episode
from workers.content import content_address, fingerprint
from workers.jobs import Context, Inputs
from workers.settings import SAMPLER_STEPS

SEED_BITS = 32


class WorldSpec(Inputs):
    """A world by name, and how it imagines where it is a model."""

    name: str
    sampler_steps: int = SAMPLER_STEPS
    guidance: float = 1.0

    @property
    def config_sha256(self) -> str:
        """Of what shapes a rollout besides policy, world, scene, seed and length."""
        return content_address({"sampler_steps": self.sampler_steps, "guidance": self.guidance})


class Dataset(Inputs):
    """Where episodes are. `fingerprint` tells one state of its files from another; `keep` names some of them."""

    path: str
    layout: str | None
    fingerprint: str
    keep: tuple[str, ...] | None = None

    @classmethod
    def at(cls, path: Path, layout: Path | None = None, keep: tuple[str, ...] | None = None) -> Dataset:
        """Raises `InvalidInput` for a path that does not exist."""
        sources = [path] if layout is None else [path, layout]
        return cls(
            path=str(path.resolve()),
            layout=None if layout is None else str(layout.resolve()),
            fingerprint=fingerprint(*sources),
            keep=keep,
        )

    def episodes(self, context: Context) -> tuple[Episode, ...]:
        layout = Path(self.layout) if self.layout else None
        episodes = context.workshop.episodes(Path(self.path), layout, context.progress)
        if self.keep is None:
            return episodes
        chosen = tuple(episode for episode in episodes if episode.id in self.keep)
        if len(chosen) < len(self.keep):
            absent = sorted(set(self.keep) - {episode.id for episode in chosen})
            raise InvalidInput(f"{self.path} has no episode {absent[0]!r}")
        return chosen


class Trial(Inputs):
    """One rollout to be had: the seed belongs to the scene, never to the batch."""

    rollout_id: str
    episode_id: str
    start: int
    scene_id: str
    seed: int


class RolloutInputs(Inputs):
    """A batch of scenes for one policy in one world: what one worker does at a time."""

    world: WorldSpec
    world_sha256: str
    policy: str
    policy_sha256: str
    dataset: Dataset
    steps: int
    trials: tuple[Trial, ...]


def plan_rollouts(
    context: Context, world: WorldSpec, policies: Sequence[str], dataset: Dataset,
    begun: Sequence[tuple[Episode, int]], steps: int, seed: int, batch: int,
) -> list[RolloutInputs]:  # fmt: skip
    """Every policy from every beginning (an episode of `dataset` and a frame of it), in batches.

    Registers the world, the policies and the scenes in the catalog. Raises `InvalidInput` for policies that occur
    twice or that share a name.
    """
    if steps < 1 or batch < 1:
        raise InvalidInput("an evaluation needs at least one step and a batch of one")
    card = context.workshop.world(world.name, world.sampler_steps, world.guidance).card
    cards = [context.workshop.policy(spec).card for spec in policies]
    if repeated := {card.name for card in cards if [other.name for other in cards].count(card.name) > 1}:
        raise InvalidInput(f"policies must have different names: {min(repeated)} occurs more than once")
    cut = [(scene_for(episode, start, card), start) for episode, start in begun]
    _register(context, card, cards, [scene for scene, _ in cut])
    return [
        RolloutInputs(
            world=world,
            world_sha256=card.sha256,
            policy=spec,
            policy_sha256=policy.sha256,
            dataset=dataset,
            steps=steps,
            trials=tuple(_trial(*each, policy, card, world, steps, seed) for each in cut[begin : begin + batch]),
        )
        for spec, policy in zip(policies, cards, strict=True)
        for begin in range(0, len(cut), batch)
    ]


def scene_for(episode: Episode, start: int, card: WorldCard) -> Scene:
    """The scene at a frame of an episode, at a world's rate."""
    return scene_from_episode(episode, start, fps=card.fps)


def scene_seed(seed: int, scene: Scene) -> int:
    """The seed of one scene in an evaluation with `seed`: whatever the batch, and the same for every policy."""
    digest = hashlib.sha256(f"{seed}\n{scene.id}".encode()).digest()
    return int.from_bytes(digest[: SEED_BITS // 8], "big")


def _trial(
    scene: Scene, start: int, policy: PolicyCard, card: WorldCard, world: WorldSpec, steps: int, seed: int
) -> Trial:
    own = scene_seed(seed, scene)
    id = rollout_id(policy, card, scene.id, own, steps=steps, config_sha256=world.config_sha256)
    return Trial(rollout_id=id, episode_id=scene.episode_id, start=start, scene_id=scene.id, seed=own)


def _register(context: Context, card: WorldCard, policies: Sequence[PolicyCard], scenes: Sequence[Scene]) -> None:
    context.store.catalog.add_world(card)
    for policy in policies:
        context.store.catalog.add_policy(policy)
    for scene in scenes:
        context.store.catalog.add_scene(scene, scene_sha256(scene))
