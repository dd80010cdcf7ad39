"""A look at a policy server before it is submitted: a handshake, some calls, three scenes, and what was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arena.contracts import ActionSpace, InvalidInput, Kinematics, Scene
from arena.policies import mistakes, trying
from arena.policies.errors import PolicyServerError
from arena.policies.examination import Answers, Examiner, difference, made_up_scenes, mixes_up, vary
from arena.policies.mistakes import Mistake, Sample
from arena.policies.report import ProbeReport, bounds, plain, problems_of
from arena.policies.served import completed, kind_of, parse_served
from arena.policies.server import Access
from arena.policies.transport import one_line

CALLS = 8

Progress = Callable[[int, int, str], None]


def probe(
    spec: str,
    action_space: ActionSpace | None = None,
    calls: int = CALLS,
    access: Access | None = None,
    scenes: Sequence[Scene] | None = None,
    kinematics: Kinematics | None = None,
    progress: Progress | None = None,
) -> ProbeReport:
    """Shake hands with a server, call it `calls` times alike, then with one thing changed, then in `scenes`.

    `spec` is an address, or a whole spec; without `scenes`, three that are made up. `kinematics` tell how far joint
    actions would move. Answers of an unexpected shape, dtype or with NaN are reported as problems. Raises a
    `PolicyError` where there are none to report on: an unreachable, stalling or failing server, or answers without
    actions; `InvalidInput` for a malformed `spec`.
    """
    show = progress or (lambda done, total, stage: None)
    spec = spec.strip()
    how, kind = access or Access(), kind_of(spec)
    served = parse_served(completed(spec, action_space), how)
    assert kind is not None, "parse_served refuses what is no server"
    server = served.server()
    try:
        started = time.perf_counter()
        metadata = server.metadata()
        connected = time.perf_counter() - started
        if kind == "groot":
            metadata = dict(server.ask({"endpoint": "get_modality_config"}, "the handshake"))
        declared = _declared(spec, action_space, metadata)
        served = parse_served(completed(spec, declared), how)
        examiner = Examiner(served, server)
        looked = _Look(kind, declared, examiner, show)
        looked.repeat(max(1, calls))
        looked.vary()
        looked.try_out(made_up_scenes() if scenes is None else scenes, kinematics)
    finally:
        server.close()
    return looked.report(spec, metadata, connected)


def _declared(spec: str, asked: ActionSpace | None, metadata: Mapping[str, Any]) -> ActionSpace | None:
    """What the asker or the spec says; else what the server says of itself."""
    words = [str(space) for space in ActionSpace]
    written = next((word for word in words if f"action_space={word}" in spec.partition("?")[2].split("&")), None)
    if asked is not None and written not in (None, str(asked)):
        raise InvalidInput(f"policy {spec!r} declares {written}, and {asked} was asked about")
    if asked is not None or written is not None:
        return asked or ActionSpace(written or "")
    says = metadata.get("action_space")
    if says in words:
        return ActionSpace(says)
    action = metadata.get("action")
    keys = str(action) if action is not None else ""
    return next((ActionSpace(word) for word in ("joint_position", "cartesian_position") if word in keys), None)


@dataclass
class _Look:
    """What was seen so far."""

    kind: str
    space: ActionSpace | None
    examiner: Examiner
    show: Progress
    repeated: Sequence[NDArray[Any]] = ()
    answers: Answers | None = None
    mixed_up: bool | None = None
    tried: tuple[trying.Tried, ...] = ()
    in_scenes: Sequence[Sample] = ()

    @property
    def usable(self) -> bool:
        """Whether all answers so far are chunks of finite actions of one width."""
        return not problems_of(self.repeated, self.space)

    def repeat(self, calls: int) -> None:
        scene, found = made_up_scenes()[0], []
        for call in range(calls):
            self.show(call, calls, "first call" if call == 0 else "calls")
            try:
                found.append(self.examiner.ask(scene))
            except PolicyServerError as error:
                hint = mistakes.server_error_hint(str(error), self.kind)
                raise error if hint is None else PolicyServerError(f"{error} ({hint})") from error
        self.repeated = found

    def vary(self) -> None:
        if not self.usable:
            return
        self.answers = vary(self.examiner, self.repeated, self.show)
        if len(self.repeated) > 1 and self.answers.noise < 1e-6:
            self.mixed_up = mixes_up(self.examiner, made_up_scenes()[1])

    def try_out(self, scenes: Sequence[Scene], kinematics: Kinematics | None) -> None:
        if self.usable and self.space is not None:
            self.tried, self.in_scenes = trying.try_out(self.examiner, scenes, kinematics, self.show)

    def report(self, spec: str, metadata: Mapping[str, Any], connected: float) -> ProbeReport:
        first, seconds = self.repeated[0], self.examiner.seconds
        low, high = self._bounds()
        found = self._mistakes()
        lengths = [len(answer) for answer in self._all()]
        problems = [*problems_of(self.repeated, self.space), *(each.says for each in found if each.certain)]
        problems += [f"in {each.scene}: {each.problem}" for each in self.tried if each.problem is not None]
        card = self.examiner.served.card
        width = first.shape[1] if first.ndim == 2 else 0
        return ProbeReport(
            url=spec,
            kind=self.kind,
            metadata=plain(metadata),
            action_space=None if self.space is None else str(self.space),
            action_spaces=tuple(str(space) for space in ActionSpace if space.width == width),
            action_shape=first.shape,
            action_dtype=str(first.dtype),
            action_min=low,
            action_max=high,
            gripper_min=low[-1] if low else None,
            gripper_max=high[-1] if high else None,
            chunk_lengths=(min(lengths), max(lengths)) if lengths else None,
            control_hz=card.control_hz,
            cameras=tuple(self.answers.cameras) if self.answers else (),
            deterministic=None if self.answers is None or len(self.repeated) < 2 else self.answers.noise < 1e-6,
            repeat_difference=None if self.answers is None else self.answers.noise,
            trials_at_once=None if self.mixed_up is None else not self.mixed_up,
            connect_seconds=connected,
            first_call_seconds=seconds[0],
            latency_p50_seconds=float(np.percentile(seconds[1:], 50)) if len(seconds) > 1 else None,
            latency_p95_seconds=float(np.percentile(seconds[1:], 95)) if len(seconds) > 1 else None,
            calls=len(seconds),
            mistakes=tuple(found),
            scenes=self.tried,
            submit_as=self._submit_as(spec, lengths) if not problems else None,
            problems=tuple(problems),
            notes=tuple(self._notes(spec, metadata, low, high, lengths)),
        )

    def _all(self) -> list[NDArray[Any]]:
        """Every answer that is a chunk."""
        every = list(self.repeated)
        if self.answers is not None:
            every += [sample.actions for sample in (*self.answers.moved, self.answers.closed)]
            every += [*self.answers.cameras.values(), self.answers.told]
        width = self.repeated[0].shape[1:]
        return [answer for answer in every if answer.ndim == 2 and answer.size and answer.shape[1:] == width]

    def _bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        answers = self._all()
        return bounds(np.concatenate(answers)) if answers else ((), ())

    def _mistakes(self) -> list[Mistake]:
        if self.answers is None:
            return []
        alike = Sample(self.answers.scene.observation, self.answers.repeated[0])
        every = [alike, *self.answers.moved, self.answers.closed]
        influence = {
            name: difference(answer, self.answers.repeated[0]) for name, answer in self.answers.cameras.items()
        }
        # In scenes that exist a policy is at home; in those made up it may do anything.
        arms = self.in_scenes or [alike, *self.answers.moved]
        found = [] if self.space is None else mistakes.arm_mistakes(arms, self.space)
        found += mistakes.gripper_mistakes(alike, self.answers.closed, every)
        found += mistakes.camera_mistakes(influence, self.answers.noise)
        return [*found, *trying.mistakes_in(self.tried)]

    def _submit_as(self, spec: str, lengths: Sequence[int]) -> str | None:
        """The whole spec, with what is known by now in it."""
        if self.space is None or (self.space is ActionSpace.CARTESIAN_VELOCITY and "velocity_scale" not in spec):
            return None
        return completed(spec, self.space, min(lengths))

    def _notes(
        self, spec: str, metadata: Mapping[str, Any], low: tuple[float, ...], high: tuple[float, ...],
        lengths: Sequence[int],
    ) -> list[str]:  # fmt: skip
        found = []
        says, space = metadata.get("action_space"), self.space
        if space is None:
            found.append("declare the action space when you submit: it is not guessed")
        elif isinstance(says, str) and says != str(space):
            found.append(f"the server's metadata says action_space={one_line(says, 40)!r}")
        if "needs_session_id" in metadata and self.kind != "roboarena":
            found.append("the metadata is that of a RoboArena server: call it with roboarena:// in place of openpi://")
        if space is ActionSpace.JOINT_VELOCITY and low and max(map(abs, (*low[:-1], *high[:-1]))) > 1.0:
            found.append(
                "joint velocities exceed 1: they are clipped as normalised ones unless velocity_scale=si is declared"
            )
        if self.answers is not None:
            if difference(self.answers.told, self.answers.repeated[0]) <= max(2 * self.answers.noise, 1e-6):
                found.append("another instruction changes nothing in the answer")
            if self.answers.noise >= 1e-6:
                found.append(f"it does not repeat itself: answers to the same differ by up to {self.answers.noise:.2g}")
        if self.mixed_up:
            found.append("it mixes up trials that act at once: what it remembers has to be kept by session_id")
        return [*found, *self._pace(lengths)]

    def _pace(self, lengths: Sequence[int]) -> list[str]:
        """Whether it would keep up with a robot, which a simulator waits for."""
        rate, seconds = self.examiner.served.card.control_hz, self.examiner.seconds[1:]
        if not lengths or not seconds:
            return []
        late, covers = float(np.percentile(seconds, 95)), min(lengths) / rate
        if late <= covers:
            return []
        return [
            f"an answer takes up to {late:.2g} s and lasts {covers:.2g} s at {rate:g} Hz: a robot would have to wait"
        ]
