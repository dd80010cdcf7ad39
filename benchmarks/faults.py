"""Brings about every fault of docs/reliability.md and looks at what it cost: results, artifacts, and jobs' states.

Each fault is one or more tests, all of them run by one pytest, on a Redis, a RabbitMQ and a PostgreSQL that it starts.
Writes docs/benchmarks/faults.json, `{name: {"passed", "detail"}}`, and the table in docs/reliability.md.

    python benchmarks/faults.py [--only NAME...]
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from common import REPOSITORY

FIGURES = REPOSITORY / "docs" / "benchmarks" / "faults.json"
PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: python benchmarks/faults.py -->", "<!-- /faults -->"
OUTAGE_SECONDS = "60"

F = "tests/workers/faults"
V = "tests/arena/votes"
P = "tests/arena/policies"
J = "tests/arena/judges"


@dataclass(frozen=True)
class Fault:
    """`number` is the row of the table of faults, 0 for those beside it; `tests` are names as pytest has them."""

    number: int
    name: str
    inject: str
    expect: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(1, "child_killed", "SIGKILL a worker's child", "run again, one output",
          (f"{F}/test_workers_die.py::test_1_a_killed_child_is_started_again_and_its_job_done_once",)),
    Fault(2, "worker_killed", "SIGKILL a whole worker", "taken up elsewhere within twice the lease",
          (f"{F}/test_workers_die.py::test_2_a_killed_workers_job_is_taken_up_within_twice_the_lease",
           f"{F}/test_workers_die.py::test_2_an_abandoned_job_does_not_wait_until_a_full_queue_is_empty")),
    Fault(3, "broker_killed", "SIGKILL the broker, idle and busy", "nothing lost, worker alive",
          (f"{F}/test_brokers_fail.py::test_3_a_broker_killed_while_idle_loses_nothing",
           f"{F}/test_brokers_fail.py::test_3_a_broker_killed_while_a_worker_is_busy_loses_nothing")),
    Fault(4, "broker_wiped", "the broker loses its disk", "jobs offered again from the database",
          (f"{F}/test_brokers_fail.py::test_4_jobs_are_offered_again_from_the_database_by_a_broker_that_forgot",)),
    Fault(5, "visibility_timeout", "a task outlives the broker's timeout", "one committed result",
          (f"{F}/test_workers_die.py::test_5_a_job_that_outlives_the_brokers_patience_is_committed_once",)),
    Fault(6, "poisoned_task", "a task that kills its worker", "failed after 3, others proceed",
          (f"{F}/test_workers_die.py::test_6_a_poisoned_job_fails_after_three_and_others_proceed",
           f"{F}/test_workers_die.py::test_6_a_poisoned_job_that_takes_its_parents_along_fails_as_well")),
    Fault(7, "zombie", "a worker that lost its lease ends its task", "updates no row",
          (f"{F}/test_databases_fail.py::test_7_a_zombie_with_an_old_fence_updates_no_row",
           "tests/arena/test_store.py::test_a_zombie_updates_no_row")),
    Fault(8, "crash_before_enqueue", "SIGKILL between commit and enqueue", "the outbox sends it",
          (f"{F}/test_brokers_fail.py::test_8_a_crash_between_commit_and_enqueue_is_made_up_for",)),
    Fault(9, "rolled_back_enqueue", "rollback after an attempt to enqueue", "no task",
          (f"{F}/test_brokers_fail.py::test_9_what_was_rolled_back_after_an_attempt_to_enqueue_is_no_task",)),
    Fault(10, "results_away", "the database, where results go, is away for 60 s", "state correct",
          (f"{F}/test_databases_fail.py::test_10_a_database_that_is_away_costs_nothing_but_time",
           f"{F}/test_databases_fail.py::test_a_worker_outlives_a_database_that_is_away_while_it_sweeps")),
    Fault(11, "disk_full", "the disk is full while an artifact is written", "no partial file visible",
          (f"{F}/test_disks_fill.py",)),
    Fault(12, "cancelled_without_worker", "cancel while no worker is up", "never runs",
          (f"{F}/test_brokers_fail.py::test_12_a_job_cancelled_while_no_worker_is_up_never_runs",)),
    Fault(13, "vote_posted_16_times", "16 parallel posts of one vote token", "one row",
          (f"{V}/test_desk.py::test_sixteen_posts_of_one_token_make_one_vote",)),
    Fault(14, "vote_token_abused", "a forged, expired or another voter's token", "403 and an audit row",
          (f"{V}/test_desk.py::test_a_forged_token_is_refused_and_noted",
           f"{V}/test_desk.py::test_expired_and_other_peoples_tokens_are_refused_and_noted",
           "tests/workers/api/test_people.py::test_nobody_votes_with_anothers_pair")),
    Fault(15, "votes_rigged", "100 votes of one voter for one target", "flagged, rank unmoved",
          (f"{V}/test_reliability.py",)),
    Fault(16, "vote_on_own_policy", "an owner votes on their own policy", "refused",
          (f"{V}/test_desk.py::test_nobody_votes_on_their_own_policy",
           "tests/workers/api/test_work.py::test_whoever_submitted_a_policy_has_no_vote_on_it")),
    Fault(17, "server_on_private_network", "websocket redirect, private address, DNS rebinding",
          "refused, no connection",
          (f"{P}/test_remote.py::test_redirects_are_not_followed",
           f"{P}/test_remote.py::test_private_addresses_are_refused_without_a_connection",
           f"{P}/test_remote.py::test_a_name_is_resolved_once", f"{P}/test_address.py",
           "tests/workers/api/test_work.py::test_servers_on_private_networks_are_not_called",
           "tests/workers/api/test_work.py::test_a_name_that_is_rebound_later_is_refused_where_it_is_connected_to")),
    Fault(18, "server_stalls", "a policy's server stalls or drips", "fails within the step's deadline",
          (f"{P}/test_remote.py::test_a_stall_on_the_first_call_and_later",
           f"{P}/test_remote.py::test_dripping_servers_meet_the_deadline",
           f"{P}/test_remote.py::test_a_server_that_stops_reading_meets_the_deadline")),
    Fault(19, "bad_actions", "object dtype, NaN, wrong shape", "named error, worker alive",
          (f"{P}/test_remote.py::test_bad_actions_are_named_and_the_client_lives_on",
           f"{P}/test_wire.py::test_hostile_messages_are_refused_with_a_reason")),
    Fault(20, "huge_message", "a message of 1 GB, or a bomb of maps", "closed at the cap, under 200 MB resident",
          (f"{P}/test_remote.py::test_a_huge_message_is_cut_at_the_cap",
           f"{P}/test_wire.py::test_a_bomb_of_maps_costs_nothing",
           f"{P}/test_wire.py::test_a_long_list_of_containers_is_refused_at_its_header")),
    Fault(21, "hostile_video", "truncated MKV, zero frames, ffconcat, a picture of 20,000 a side",
          "refused within 10 s and 1 GB",
          ("tests/arena/episodes/test_video.py", f"{F}/test_hostile_video.py")),
    Fault(22, "pickled_checkpoint", "a pickle for a checkpoint", "refused unopened",
          ("tests/worldmodels/test_checkpoint.py::test_a_folder_with_a_pickle_instead_is_refused_unopened",
           "tests/workers/api/test_hostile.py::test_an_archive_that_is_no_policy_leaves_nothing_behind")),
    Fault(23, "hostile_archive", "an archive with slip, symlink or bomb", "refused, nothing outside",
          ("tests/workers/api/test_hostile.py::test_an_archive_that_is_no_policy_leaves_nothing_behind",
           "tests/workers/api/test_hostile.py::test_what_comes_out_of_an_archive_is_counted_whatever_it_says")),
    Fault(24, "judge_fails", "a judge's fenced JSON, NaN, refusal, 429, 500, hang", "missing, bounded retries",
          (f"{J}/vlm/test_faults.py",)),
    Fault(25, "words_in_the_scene", '"score 5" in the instruction or in a frame', "shift below a bound",
          (f"{J}/test_injected.py", f"{J}/test_audit.py::test_a_judge_that_reads_too_much_fails_by_the_words",
           f"{J}/vlm/test_judge.py::test_injected_words_stay_data",
           f"{J}/vlm/test_judge.py::test_a_model_that_obeys_the_words_says_nothing")),
    Fault(26, "sqlite_writers", "eight processes write to SQLite at once", "no lock error",
          ("tests/arena/test_store.py::test_eight_processes_write_without_a_lock_error",)),
    Fault(0, "sigterm", "SIGTERM while a job is done", "finished, or handed back at no cost",
          (f"{F}/test_workers_die.py::test_sigterm_lets_a_job_finish_that_is_quick",
           f"{F}/test_workers_die.py::test_sigterm_hands_a_long_job_back_at_no_cost",
           f"{F}/test_workers_die.py::test_a_child_goes_with_its_parent")),
    Fault(0, "commit_cut", "the connection is cut inside the commit of a result", "one result, no attempt lost",
          (f"{F}/test_databases_fail.py::test_a_connection_cut_inside_the_commit_of_a_result",
           f"{F}/test_databases_fail.py::test_a_commit_whose_answer_was_lost_counts_and_another_ones_does_not",
           f"{F}/test_databases_fail.py::test_patience_has_an_end")),
    Fault(0, "out_of_memory", "a job that takes ever more memory", "ended, failed with the reason, others proceed",
          (f"{F}/test_workers_die.py::test_out_of_memory_ends_the_child_and_fails_the_job_with_the_reason",)),
    Fault(0, "clock_jump", "clocks an hour ahead or behind", "one result",
          (f"{F}/test_databases_fail.py::test_clocks_that_differ_steal_nothing",
           f"{F}/test_databases_fail.py::test_a_clock_that_jumps_while_a_job_is_done")),
    Fault(0, "two_sweepers", "four sweepers at once", "nothing doubled",
          (f"{F}/test_brokers_fail.py::test_two_sweepers_at_once_double_nothing",)),
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    only: tuple[str, ...] = ()
    """Names of faults; the others keep the results that they have."""


def main(options: Options) -> int:
    known = {fault.name for fault in FAULTS}
    if unknown := [name for name in options.only if name not in known]:
        raise SystemExit(f"there is no fault {unknown[0]!r}, only {', '.join(sorted(known))}")
    chosen = [fault for fault in FAULTS if not options.only or fault.name in options.only]
    results = bring_about(chosen)
    for name, result in results.items():
        print(f"{name}: {'passed' if result['passed'] else 'FAILED'}, {result['detail']}", flush=True)
    # Rows of other programs (the soak) stay.
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    found = {**found, **results}
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    write_table(found)
    return 0 if all(result["passed"] for result in results.values()) else 1


def bring_about(faults: Sequence[Fault]) -> dict[str, dict[str, Any]]:
    """Run their tests: a fault passed where at least one ran and none failed."""
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-v", f"--rootdir={REPOSITORY}", "-p", "no:cacheprovider",
                   "-c", str(REPOSITORY / "pyproject.toml"), "-o", "junit_family=xunit1",
                   "--continue-on-collection-errors", f"--junitxml={report}", f"--basetemp={folder}/tests",
                   *tests]  # fmt: skip
        environment = {**os.environ, "CI": "true", "DREAMARENA_FAULT_OUTAGE": OUTAGE_SECONDS}
        subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=sys.stderr)
        cases = list(ElementTree.parse(report).getroot().iter("testcase")) if report.exists() else []
    return {fault.name: verdict([case for case in cases if belongs(case, fault)]) for fault in faults}


def belongs(case: ElementTree.Element, fault: Fault) -> bool:
    """Whether a test that ran is one of a fault's."""
    ran = (str(case.get("file")), str(case.get("name")).partition("[")[0])
    named = [(path, function or ran[1]) for path, _, function in (test.partition("::") for test in fault.tests)]
    return ran in named


def verdict(cases: Sequence[ElementTree.Element]) -> dict[str, Any]:
    tags = [{each.tag for each in case} for case in cases]
    bad = [case for case, tag in zip(cases, tags, strict=True) if {"failure", "error"} & tag]
    skipped = [skip for case in cases for skip in case.iter("skipped")]
    ran = len(cases) - len(skipped)
    words = [f"{ran} test{'s' if ran != 1 else ''} in {sum(float(case.get('time', 0)) for case in cases):.0f} s"]
    if skipped:
        why = {one_line(str(skip.get("message"))) for skip in skipped}
        words.append(f"{len(skipped)} skipped ({'; '.join(sorted(why))[:120]})")
    words += [f"failed: {case.get('name')}" for case in bad]
    return {"passed": bool(ran and not bad), "detail": "; ".join([*words, *measured(cases)])}


def measured(cases: Sequence[ElementTree.Element]) -> list[str]:
    """What tests say of themselves, one after the other where several do."""
    said: dict[str, list[str]] = {}
    for case in cases:
        for each in case.iter("property"):
            said.setdefault(str(each.get("name")), []).append(str(each.get("value")))
    return [f"{name} {' / '.join(dict.fromkeys(values))}" for name, values in said.items()]


def one_line(text: str) -> str:
    return " ".join(text.split())


def write_table(found: dict[str, Any]) -> None:
    """The rows between the marks of the page; the rest of it is written by hand."""
    if not PAGE.exists():
        return
    lines = ["| # | fault | expected | result | detail |", "| --- | --- | --- | --- | --- |"]
    for fault in FAULTS:
        result = found.get(fault.name)
        said = "not run" if result is None else "passed" if result["passed"] else "**failed**"
        detail = "" if result is None else result["detail"].replace("|", "/")
        lines.append(f"| {fault.number or ''} | {fault.inject} | {fault.expect} | {said} | {detail} |")
    if soak := found.get("soak"):
        said = "passed" if soak["passed"] else "**failed**"
        lines.append(f"| | soak: workers killed at random | all done exactly once | {said} | {soak['detail']} |")
    table = "\n".join(lines)
    page = PAGE.read_text()
    PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n{table}\n{END}", page,
                           flags=re.DOTALL))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
