"""The commands by name. Their modules import nothing heavy until they run, so that `--help` is quick."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import subcommand

from workers.cli.api import Api
from workers.cli.demo import Demo, Report, TrainDemo
from workers.cli.doctor import Doctor
from workers.cli.evaluate import Evaluate, Leaderboard
from workers.cli.ingest import Ingest
from workers.cli.jobs import Jobs
from workers.cli.judge import Judge
from workers.cli.policy import Policy
from workers.cli.rank import Rank
from workers.cli.record import Record
from workers.cli.synth import Synth
from workers.cli.token import Token
from workers.cli.twin import Twin
from workers.cli.ui import Ui
from workers.cli.validate import Validate
from workers.cli.votes import Votes
from workers.cli.worker import Worker
from workers.cli.worldmodel import WorldModel

Dreamarena = (
    Annotated[Ingest, subcommand("ingest")]
    | Annotated[Record, subcommand("record")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Leaderboard, subcommand("leaderboard")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Rank, subcommand("rank")]
    | Annotated[Validate, subcommand("validate")]
    | Annotated[Demo, subcommand("demo")]
    | Annotated[TrainDemo, subcommand("train-demo")]
    | Annotated[Policy, subcommand("policy")]
    | Annotated[Synth, subcommand("synth")]
    | Annotated[Judge, subcommand("judge")]
    | Annotated[WorldModel, subcommand("worldmodel")]
    | Annotated[Twin, subcommand("twin")]
    | Annotated[Worker, subcommand("worker")]
    | Annotated[Doctor, subcommand("doctor")]
    | Annotated[Jobs, subcommand("jobs")]
    | Annotated[Votes, subcommand("votes")]
    | Annotated[Api, subcommand("api")]
    | Annotated[Token, subcommand("token")]
    | Annotated[Ui, subcommand("ui")]
)
