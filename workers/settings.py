"""Where things are kept and who does the work, from the environment. The defaults need no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from arena.contracts import InvalidInput

BROKERS = ("redis", "rediss", "amqp", "amqps")
SAMPLER_STEPS = 2
"""Denoising steps of a world model, unless told otherwise: more look sharper and are no truer (docs/sampling.md)."""

REVIEWS = "reviews"
"""The folder in the home with what waits for a person's word before it becomes training data."""


class Settings(BaseSettings):
    """Read from `DREAMARENA_HOME`, `DREAMARENA_DATABASE_URL`, `DREAMARENA_BROKER_URL` and `DREAMARENA_ARTIFACTS`.

    Without a broker, steps run in the process that asks for them.
    """

    model_config = SettingsConfigDict(env_prefix="DREAMARENA_", env_ignore_empty=True, frozen=True)

    home: Path = Path(".dreamarena")
    database_url: str | None = None
    """`sqlite:///PATH` or `postgresql://...`; by default a file in `home`."""
    broker_url: str | None = None
    artifacts: str | None = None
    """A folder or an fsspec URL, e.g. `s3://bucket/prefix`; by default a folder in `home`."""

    log_json: bool = False
    """Whether logs are JSON objects, one a line, rather than text."""

    secret: SecretStr | None = None
    """What voters' tokens are signed with, 32 bytes or more; by default a file in `home`."""
    vote_sign_in: bool = False
    """Whether only people who signed in (or came from a crowd platform) may vote."""
    vote_completion_url: str | None = None
    """Where a crowd platform's workers are sent once they have voted `vote_completion_votes` times."""
    vote_completion_votes: int = 20

    private_policies: bool | None = None
    """Whether policies may be servers on this machine and on private networks. By default those that this machine's
    user names may, and those that come through the HTTP API may not.
    """
    lerobot_python: str | None = None
    """The Python interpreter that runs `lerobot:FOLDER`: one with lerobot and msgpack installed."""
    api_open: bool = False
    """Whether the HTTP API lets those without a token read what is public."""
    api_reads_per_second: Annotated[float, Field(gt=0)] = 50.0
    """For each token; twice as many at once."""
    api_changes_per_second: Annotated[float, Field(gt=0)] = 5.0
    """For each token; four times as many at once."""

    admins: Annotated[tuple[str, ...], NoDecode] = ()
    """E-mail addresses, separated by commas, of those who may submit, try again and see voters in the pages.

    Without any, whoever opens the pages on the machine that serves them may, and nobody else.
    """

    @field_validator("admins", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = tuple(word.strip().casefold() for word in value.split(",") if word.strip())
        if wrong := [word for word in found if "@" not in word]:
            raise ValueError(f"must be e-mail addresses separated by commas; {wrong[0]!r} is none")
        return found

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str | None) -> str | None:
        if value is not None and value.partition("://")[0] not in BROKERS:
            raise ValueError(f"must start with one of {', '.join(f'{name}://' for name in BROKERS)}")
        return value

    @property
    def store_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home.absolute() / 'arena.db'}"

    @property
    def artifacts_location(self) -> str:
        return self.artifacts or str(self.home.absolute() / "artifacts")

    @property
    def cache(self) -> Path:
        """A folder for copies that can be fetched or made again."""
        return self.home.absolute() / "cache"


def load_settings() -> Settings:
    """Raises `InvalidInput` naming the variable that cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"DREAMARENA_{str(first['loc'][0]).upper()}"
        raise InvalidInput(f"{name}: {first['msg'].removeprefix('Value error, ')}, not {first['input']!r}") from error
