"""A world model as a `World`: policies act in it, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from arena.contracts import (
    ActionChunk,
    FloatArray,
    InvalidInput,
    Observation,
    Scene,
    WorldCard,
    WorldStep,
)
from worldmodels.model import WorldModel
from worldmodels.sampler import SamplerConfig


@dataclass
class _Trial:
    """One imagined trial: `T` latents so far, the `(T, 7)` state in each, the `(T - 1, 7)` commands between them."""

    scene: Scene
    latents: Tensor
    states: FloatArray
    commands: FloatArray
    generator: torch.Generator
    observation: Observation


class ImaginedWorld:
    """Batched imagination with a history per scene.

    `views` are the cameras to decode (all of the model's where None): decoding is a good part of the
    cost, so ask for what the policy and the judge look at. Noise is drawn per scene from its own seed,
    so a trial does not depend on the batch it runs in.
    """

    def __init__(
        self,
        model: WorldModel,
        sampler: SamplerConfig | None = None,
        views: Sequence[str] | None = None,
        name: str = "",
        robot: str = "",
    ) -> None:
        self.model = model
        self.sampler = (sampler or SamplerConfig()).for_rollout()
        unknown = sorted(set(views or ()) - set(model.config.views))
        if unknown:
            raise InvalidInput(f"no view {unknown[0]!r}: this model has {', '.join(model.config.views)}")
        self._card = WorldCard(
            name=name or model.config.name,
            sha256=model.sha256,
            fps=model.config.fps,
            frames_per_step=model.config.frames_per_call,
            cameras=tuple(views) if views is not None else model.config.views,
            robot=robot,
        )
        self._trials: list[_Trial] = []

    @property
    def card(self) -> WorldCard:
        return self._card

    def start(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> list[Observation]:
        """Begin a batch of trials. Raises `InvalidInput` for a scene at another frame rate or without a view."""
        if len(scenes) != len(seeds):
            raise InvalidInput(f"{len(scenes)} scenes need as many seeds, not {len(seeds)}")
        for scene in scenes:
            if abs(scene.fps - self.card.fps) > 0.01 * self.card.fps:
                raise InvalidInput(
                    f"scene {scene.id} is at {scene.fps:g} Hz, {self.card.name} imagines at {self.card.fps:g} Hz"
                )
        self._trials = [self._begin(scene, seed) for scene, seed in zip(scenes, seeds, strict=True)]
        return [trial.observation for trial in self._trials]

    def step(self, chunks: Sequence[ActionChunk]) -> list[WorldStep]:
        """Imagine what each chunk does. A chunk shorter than a call is imagined as if its last action were held."""
        actions = self._checked(chunks)
        reached = [
            self.model.reached(trial.states, np.concatenate([trial.commands, self._padded(action)]))
            for trial, action in zip(self._trials, actions, strict=True)
        ]
        imagined = self.model.imagine(
            [trial.latents for trial in self._trials],
            [np.concatenate([t.states, ahead]) for t, ahead in zip(self._trials, reached, strict=True)],
            [trial.scene.instruction for trial in self._trials],
            torch.stack([self._noise(trial) for trial in self._trials]),
            self.sampler,
        )
        length = len(actions[0])
        new = imagined[:, :length]
        decoded = self.model.autoencoder.decode(new.flatten(0, 1), self.card.cameras)
        steps = []
        for index, (trial, action) in enumerate(zip(self._trials, actions, strict=True)):
            frames = {name: video[index * length : (index + 1) * length] for name, video in decoded.items()}
            trial.latents = torch.cat([trial.latents, new[index]])
            trial.states = np.concatenate([trial.states, reached[index][:length]])
            trial.commands = np.concatenate([trial.commands, action])
            steps.append(self._observed(trial, frames, length))
        return steps

    def close(self) -> None:
        self._trials = []

    def _begin(self, scene: Scene, seed: int) -> _Trial:
        latents = self.model.autoencoder.encode(self.model.resized(scene.history))
        observation = replace(
            scene.observation,
            cameras=self.model.resized({k: v[None] for k, v in scene.observation.cameras.items()}),
        )
        observation = replace(
            observation, cameras={k: v[0] for k, v in observation.cameras.items() if k in self.card.cameras}
        )
        states = np.asarray(scene.history_state, dtype=np.float64)
        return _Trial(
            scene=scene,
            latents=latents,
            states=states,
            # What was commanded before the scene is not recorded: it is taken to be what was reached.
            commands=states[1:],
            generator=torch.Generator().manual_seed(seed),
            observation=observation,
        )

    def _checked(self, chunks: Sequence[ActionChunk]) -> list[FloatArray]:
        if len(chunks) != len(self._trials):
            raise InvalidInput(f"{len(self._trials)} trials were started, {len(chunks)} chunks given")
        lengths = {len(chunk) for chunk in chunks}
        if len(lengths) != 1 or max(lengths) > self.card.frames_per_step:
            raise InvalidInput(
                f"chunks must be of one length, at most {self.card.frames_per_step}, not {sorted(lengths)}"
            )
        for chunk in chunks:
            if chunk.space is not self.card.action_space:
                raise InvalidInput(f"{self.card.name} takes {self.card.action_space} actions, not {chunk.space}")
        return [np.asarray(chunk.values, dtype=np.float64) for chunk in chunks]

    def _padded(self, action: FloatArray) -> FloatArray:
        missing = self.card.frames_per_step - len(action)
        return np.concatenate([action, np.repeat(action[-1:], missing, axis=0)])

    def _noise(self, trial: _Trial) -> Tensor:
        shape = (self.model.config.num_frames, *trial.latents.shape[1:])
        return torch.randn(shape, generator=trial.generator)

    def _observed(self, trial: _Trial, frames: dict[str, np.ndarray], length: int) -> WorldStep:
        state = trial.states[-1]
        trial.observation = Observation(
            cameras={name: video[-1] for name, video in frames.items()},
            cartesian_position=state[:6],
            gripper_position=state[6:],
            instruction=trial.scene.instruction,
        )
        return WorldStep(frames=frames, state=trial.states[-length:], observation=trial.observation)
