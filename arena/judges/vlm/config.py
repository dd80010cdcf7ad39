"""What a vision-language judge is made of, and reading it from a spec or a TOML file."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from arena.contracts import InvalidInput
from arena.judges.card import EVEN
from arena.judges.vlm.answers import preference_form, scores_form
from arena.judges.vlm.asking import Sampling
from arena.judges.vlm.endpoint import Endpoint
from arena.judges.vlm.frames import FramePlan
from arena.judges.vlm.ledger import Budget
from arena.judges.vlm.prompts import PREFERENCE, PROMPT_VERSION, SCORES

KIND = "vlm"
SPEC = re.compile(r"vlm:(?P<model>.+)@(?P<url>https?://.+)")
MAX_TOML_BYTES = 1 << 16
MAX_REPEATS = 32
SECTIONS: Mapping[str, type[Any]] = {"frames": FramePlan, "sampling": Sampling, "budget": Budget}
ENDPOINT_KEYS = {"url": "url", "key_env": "key_variable", "timeout_s": "timeout_s"}


@dataclass(frozen=True)
class VlmConfig:
    """A model at an endpoint, how frames are chosen, how often it is asked, and what its answers count for.

    `repeats` answers are asked for, and their median counts. The final score is the mean progress over the last
    `last_share` of the judged frames (after RobotArena infinity, arXiv 2510.23571, which scores by the rollout's last
    part; the share is ours). `threshold` is the success probability from which the judge says success. `served_as`
    replaces the address in the judge's hash: the same model behind another port is the same judge.
    Raises `InvalidInput` for what cannot be.
    """

    model: str
    endpoint: Endpoint
    frames: FramePlan = field(default_factory=FramePlan)
    sampling: Sampling = field(default_factory=Sampling)
    budget: Budget = field(default_factory=Budget)
    repeats: int = 3
    last_share: float = 0.3
    threshold: float = EVEN
    served_as: str = ""

    def __post_init__(self) -> None:
        if not self.model.strip() or not self.model.isprintable():
            raise InvalidInput(f"{self.model!r} is not the name of a model")
        if not 1 <= self.repeats <= MAX_REPEATS:
            raise InvalidInput(f"repeats must be from 1 to {MAX_REPEATS}, not {self.repeats}")
        if not (0 < self.last_share <= 1 and 0 < self.threshold < 1):
            raise InvalidInput("last_share must be above 0 and at most 1, threshold between 0 and 1")

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that shapes a verdict, as JSON: not what it costs, how long one waits, or who pays."""
        return {
            "kind": KIND,
            "model": self.model,
            "served_as": self.served_as or self.endpoint.url,
            "prompt_version": PROMPT_VERSION,
            "prompts": [SCORES, PREFERENCE],
            "forms": [scores_form(1).schema, preference_form().schema],
            "frames": asdict(self.frames),
            "sampling": asdict(self.sampling),
            "repeats": self.repeats,
            "last_share": self.last_share,
            "threshold": self.threshold,
        }

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


def parse_vlm(spec: str) -> VlmConfig:
    """`vlm:MODEL@URL`, e.g. `vlm:Qwen/Qwen3-VL-8B-Instruct@http://localhost:8000/v1`, or `vlm:FILE.toml`.

    Raises `InvalidInput`.
    """
    if match := SPEC.fullmatch(spec):
        return VlmConfig(match["model"], Endpoint(match["url"]))
    path = Path(spec.removeprefix(f"{KIND}:"))
    if path.suffix != ".toml":
        raise InvalidInput(f"{spec!r} is no judge over an endpoint: write vlm:MODEL@http://HOST/v1 or vlm:FILE.toml")
    return vlm_from_toml(path, read_toml(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Raises `InvalidInput` for a file that is missing, too large or no TOML."""
    if not path.is_file():
        raise InvalidInput(f"there is no judge in {path}: it is not a file")
    if path.stat().st_size > MAX_TOML_BYTES:
        raise InvalidInput(f"{path} is larger than {MAX_TOML_BYTES} bytes: that is no judge")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}") from None


def vlm_from_toml(path: Path, values: Mapping[str, Any]) -> VlmConfig:
    """The judge that a TOML describes: the fields of `VlmConfig` and `Endpoint`, and its sections.

    Raises `InvalidInput` naming the file and the key that is unknown, missing or of the wrong type.
    """
    own = {f.name for f in fields(VlmConfig)} - {"endpoint", *SECTIONS}
    _check_keys(path, values, {"kind", *own, *ENDPOINT_KEYS, *SECTIONS})
    for name in ("model", "url"):
        if name not in values:
            raise InvalidInput(f'{path}: {name!r} is missing, e.g. {name} = "{_EXAMPLES[name]}"')
    try:
        endpoint = _made(path, Endpoint, {ENDPOINT_KEYS[k]: v for k, v in values.items() if k in ENDPOINT_KEYS})
        sections = {name: _section(path, name, kind, values.get(name, {})) for name, kind in SECTIONS.items()}
        plain = {name: value for name, value in values.items() if name in own}
        config: VlmConfig = _made(path, VlmConfig, {**plain, "endpoint": endpoint, **sections})
    except InvalidInput as error:
        message = str(error)
        raise InvalidInput(message if message.startswith(str(path)) else f"{path}: {message}") from None
    return config


_EXAMPLES = {"model": "Qwen/Qwen3-VL-8B-Instruct", "url": "http://localhost:8000/v1"}


def _section(path: Path, name: str, kind: type[Any], values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{path}: {name!r} is a section: write [{name}] and its keys below")
    _check_keys(path, values, {f.name for f in fields(kind)})
    return _made(path, kind, values)


def _made(path: Path, kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass of plain values, each of the type that its annotation says."""
    types = {f.name: str(f.type) for f in fields(kind)}
    for name, value in values.items():
        wanted = [_TYPES[part] for part in types[name].split(" | ") if part in _TYPES]
        if wanted and not any(_is(value, each) for each in wanted):
            raise InvalidInput(f"{path}: {name} = {value!r} must be {' or '.join(each.__name__ for each in wanted)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


_TYPES: Mapping[str, type[Any]] = {"str": str, "int": int, "float": float, "tuple[str, ...]": list}


def _is(value: Any, kind: type[Any]) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind and (kind is not list or all(isinstance(each, str) for each in value))


def _check_keys(path: Path, values: Mapping[str, Any], known: set[str]) -> None:
    for name in values:
        if name not in known:
            close = get_close_matches(name, sorted(known), n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
            raise InvalidInput(f"{path}: {name!r} is no setting here; {meant}")
