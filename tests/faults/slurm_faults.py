#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real Slurm cluster that fails in every way it can, and batches that must tell the truth all the same.

usage: slurm_faults.py NAME --build DIR --cluster DIR      NAME: one of the tests below, or "list"
Exit status 0: it holds; 1: it does not (the text says what was found). The cluster is up (tests/slurm_cluster).
"""
import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from slurm_bench import (PATIENCE, Bench, SlurmCluster, Violation, classes, demand, each_ran_once, kill_all_of, node_of_the_job,
                         script_of, states_of, take_the_node, wait_until)


def hung_controller(bench):
    """slurmctld hangs while a submission is made, and takes the request when it goes on: nothing runs twice."""
    first = {"name": "first", "command": f"{bench.effect('first')}; {bench.wait_at_gate()}"}
    others = ({"command": bench.effect(f"t{i}"), "after": ["first"]} for i in range(5))
    child = bench.run(bench.lines(first, *others))
    bench.wait_for_effect("first")
    bench.cluster.pause("slurmctld")
    try:
        bench.open_gate()
        # The controller goes on when the call has timed out (MessageTimeout is 10 s).
        bench.wait_for_words(child, "whether Slurm has taken submission")
    finally:
        bench.cluster.resume("slurmctld")
    status, text = bench.end_of(child)
    demand(status == 0, f"exit status {status}: {text}")
    each_ran_once(bench, ["first", *(f"t{i}" for i in range(5))])


def restarted_controller(bench):
    """slurmctld is ended while tasks run and wait, and comes back."""
    child = bench.run("--array", 6, "--", "sh", "-c", f"{bench.effect('t$ALLOT_ARRAY_STEP_ID')}; {bench.wait_at_gate()}")
    bench.wait_for_effect("t0")
    bench.cluster.kill("slurmctld", signal.SIGTERM)
    bench.open_gate()
    bench.cluster.start_daemon("slurmctld")
    status, text = bench.end_of(child)
    demand(status == 0, f"exit status {status}: {text}")
    each_ran_once(bench, [f"t{i}" for i in range(6)])


def killed_driver(bench):
    """The driver is killed while tasks run: they go on, and the next driver takes them over."""
    child = bench.run("--array", 6, "--", "sh", "-c", f"{bench.effect('t$ALLOT_ARRAY_STEP_ID')}; {bench.wait_at_gate()}")
    bench.wait_for_effect("t0")
    child.kill()
    child.wait()
    bench.open_gate()
    status, text = bench.end_of(bench.start("resume", bench.batch))
    demand(status == 0, f"exit status {status}: {text}")
    each_ran_once(bench, [f"t{i}" for i in range(6)])


def driver_away(bench):
    """The driver is killed and stays away until Slurm has forgotten the job (MinJobAge is 10 s)."""
    child = bench.run("--array", 3, "--", "sh", "-c", bench.effect("t$ALLOT_ARRAY_STEP_ID") + "; [ $ALLOT_ARRAY_STEP_ID != 1 ]")
    wait_until("the submission", PATIENCE, lambda: '"job_id"' in (bench.batch / "submissions/1.slurm").read_text()
               if (bench.batch / "submissions/1.slurm").exists() else False)
    child.kill()
    child.wait()
    for i in range(3):
        bench.wait_for_effect(f"t{i}")
    wait_until("Slurm forgets the job", PATIENCE, lambda: not bench.cluster.run(
        "scontrol", "show", "job", "-o", check=False).count(f"allot-{json.loads((bench.batch / 'batch.json').read_text())['batch_id']}"))
    status, _ = bench.end_of(bench.start("resume", bench.batch))
    demand(status != 0, "a batch with a failed task was called a success")
    each_ran_once(bench, ["t0", "t1", "t2"])
    told = classes(bench)
    demand(told[0][1] == "done" and told[2][1] == "done" and told[1][1] == "error", f"{told}")


def killed_at(bench, point):
    """The driver is killed at a boundary of a submission, and the next one finds out what became of it."""
    bench.environment["ALLOT_FAULT"] = f"{point}:1"
    child = bench.run("--array", 4, "--", "sh", "-c", bench.effect("t$ALLOT_ARRAY_STEP_ID"))
    status, text = bench.end_of(child)
    demand(status == -signal.SIGKILL, f"the driver was not killed at {point}: {status}: {text}")
    del bench.environment["ALLOT_FAULT"]
    status, text = bench.end_of(bench.start("resume", bench.batch), 200)
    demand(status == 0, f"exit status {status}: {text}")
    each_ran_once(bench, [f"t{i}" for i in range(4)])


def killed_before_send(bench):
    killed_at(bench, "slurm_before_send")


def killed_after_send(bench):
    killed_at(bench, "slurm_after_send")


def killed_before_verdict(bench):
    """The driver is killed as it is about to give a verdict: the next one gives it."""
    bench.environment["ALLOT_FAULT"] = "slurm_before_verdict:1"
    child = bench.run("--retry", "lost=0", "--retry", "node_failed=0", "--retry", "preempted=0", "--", "sh", "-c",
                      f"{bench.effect('t')}; {bench.wait_for_ever()}")
    bench.wait_for_effect("t")
    kill_all_of(bench, b"allot-element", b"allot-guard")
    status, text = bench.end_of(child)
    demand(status == -signal.SIGKILL, f"the driver was not killed: {status}: {text}")
    del bench.environment["ALLOT_FAULT"]
    bench.end_of(bench.start("resume", bench.batch), 200)
    demand("lost" in bench.why(0) or "node_failed" in bench.why(0), bench.why(0))
    demand(bench.effects().count("t") <= 2, f"{bench.effects()}")


def element_killed_at(bench, point):
    """The first element to come to a point is killed there: its task runs once, or again after a verdict."""
    bench.environment.update(ALLOT_FAULT=f"{point}:1", ALLOT_FAULT_ROLE="allot-element", ALLOT_FAULT_FLAG=str(bench.root / "flag"))
    status, text = bench.end_of(bench.run("--array", 3, "--retry", "launch_failed=2", "--", "sh", "-c",
                                          bench.effect("t$ALLOT_ARRAY_STEP_ID")), 200)
    demand((bench.root / "flag").exists(), f"nothing came to {point}")
    demand(status == 0, f"exit status {status}: {text}")
    effects = bench.effects()
    demand(all(1 <= effects.count(f"t{i}") <= 2 for i in range(3)), f"{effects}")
    demand(len(effects) <= 4, f"{effects}")


def killed_element_before_publish(bench):
    element_killed_at(bench, "element_before_publish")


def killed_element_published(bench):
    element_killed_at(bench, "element_published")


def removal_killed_at(bench, point):
    """The element is killed as it records that it took a step out: the step does not run, and has an end."""
    bench.environment.update(ALLOT_FAULT=f"{point}:1", ALLOT_FAULT_ROLE="allot-element", ALLOT_FAULT_FLAG=str(bench.root / "flag"))
    tasks = bench.lines(*({"command": f"{bench.effect(f't{i}')}; {bench.wait_at_gate()}",
                           "resources": {"options": {"pack": "2"}}} for i in range(2)))
    child = bench.run(tasks, "--retry", "lost=0", "--retry", "node_failed=0")
    bench.wait_for_effect("t0")
    bench.end_of(bench.start("cancel", bench.batch, "--steps", "1"))
    bench.open_gate()
    bench.end_of(child)
    demand((bench.root / "flag").exists(), f"nothing came to {point}")
    told = classes(bench)
    demand("t1" not in bench.effects(), f"{bench.effects()}")
    demand(told[1][1] == "killed" and told[0][1] in ("lost", "node_failed"), f"{told}: {bench.why(0)}")


def removal_killed_before(bench):
    removal_killed_at(bench, "element_before_removed")


def removal_killed_after(bench):
    removal_killed_at(bench, "element_after_removed")


def failed_node(bench):
    """A node is lost under a running task: node_failed, and it runs again somewhere."""
    command = f"{bench.effect('t')}; [ $ALLOT_ATTEMPT != 1 ] || {bench.wait_for_ever()}"
    child = bench.run("--", "sh", "-c", command)
    bench.wait_for_effect("t")
    job = bench.jobs()[0]
    node = bench.cluster.run("squeue", "-h", "-o", "%N", "-j", job).strip()
    # What runs there goes on, and nobody can be asked about it any more: that is what a lost node looks like.
    bench.cluster.kill(f"slurmd.{node}")
    bench.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        status, text = bench.end_of(child)
    finally:
        bench.cluster.start_daemon(f"slurmd.{node}")
        bench.cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        bench.cluster.wait_for_nodes()
    demand(status == 0, f"exit status {status}: {text}\n{bench.why(0)}")
    demand(bench.effects().count("t") == 2, f"{bench.effects()}")
    demand("node_failed" in bench.why(0), bench.why(0))


def killed_element(bench):
    """kill -9 of the element and of its guard: the run is lost or node_failed, with the evidence, and never done."""
    child = bench.run("--retry", "lost=0", "--retry", "node_failed=0", "--", "sh", "-c", f"{bench.effect('t')}; {bench.wait_for_ever()}")
    bench.wait_for_effect("t")
    kill_all_of(bench, b"allot-element")
    status, text = bench.end_of(child)
    demand(status != 0, text)
    told = classes(bench)[0]
    demand(told[1] in ("lost", "node_failed"), f"{told}: {bench.why(0)}")


def usage_accounted(bench):
    """What a run used whose element was killed is told by the accounting, and named as such."""
    memory = 64 << 20
    program = (f"data = b'x' * {memory}; open('{bench.root}/effects', 'a').write('t' + chr(10)); "
               f"open('{bench.root}/never').readline()")
    child = bench.run("--retry", "lost=0", "--retry", "node_failed=0", "--", "python3", "-c", program)
    bench.wait_for_effect("t")
    job = json.loads((bench.batch / "submissions/1.slurm").read_text())["job_id"]

    def is_sampled():
        told = bench.cluster.run("sstat", "-a", "-n", "-P", "--noconvert", "-o", "MaxRSS", "-j", f"{job}.batch", check=False).split()
        return told and told[0].isdigit() and int(told[0]) >= memory

    wait_until("a sample of Slurm's", PATIENCE, is_sampled)
    kill_all_of(bench, b"allot-element")
    status, text = bench.end_of(child)
    demand(status == 1, f"exit status {status}: {text}")
    task = bench.tasks()[0]
    demand(task["exit_class"] in ("lost", "node_failed"), f"{task}")
    demand(task["usage_source"] == "accounting" and task["wall_seconds"] is not None, f"{task}")
    demand(memory <= task["tree_peak_bytes"] <= 2 * memory, f"{task}")
    why = bench.why(0)
    demand("by the scheduler's accounting" in why and ", peak " in why, why)


usage_accounted.parameters = {"record_patience": "8s"}  # the accounting is asked when it has had its time


def timed_out(bench):
    """A task that passes its own limit: timed_out within its grace, long before Slurm's minutes."""
    tasks = bench.lines({"command": bench.wait_for_ever(), "resources": {"runtime": "1s"}}, {"command": ["true"]})
    child = bench.run(tasks, "--retry", "timed_out=0")
    status, text = bench.end_of(child)
    demand(status != 0, text)
    told = classes(bench)
    demand(told[0][1] == "timed_out" and told[1][1] == "done", f"{told}")


def scancelled(bench):
    """scancel by hand, of one element of an array that runs."""
    child = bench.run("--array", 3, "--", "sh", "-c", f"{bench.effect('t$ALLOT_ARRAY_STEP_ID')}; {bench.wait_at_gate()}")
    for i in range(3):
        bench.wait_for_effect(f"t{i}")
    job = json.loads((bench.batch / "submissions/1.slurm").read_text())["job_id"]
    bench.cluster.run("scancel", f"{job}_1")
    wait_until("the end of the element", PATIENCE, lambda: f"{job}_1" not in bench.jobs())
    bench.open_gate()
    status, text = bench.end_of(child)
    told = classes(bench)
    demand(told[0][1] == "done" and told[2][1] == "done", f"{told}")
    demand(told[1][1] == "killed", f"{told}: {text}")
    demand(status == 1, text)
    each_ran_once(bench, [f"t{i}" for i in range(3)])


def scancelled_waiting(bench):
    """scancel by hand, of elements that wait: Slurm keeps no record of them, and they are not taken for lost and run."""
    child = bench.run("--queue", "slots1", "--array", 6, "--", "sh", "-c", f"{bench.effect('t$ALLOT_ARRAY_STEP_ID')}; {bench.wait_at_gate()}")
    bench.wait_for_effect("t0")
    job = json.loads((bench.batch / "submissions/1.slurm").read_text())["job_id"]
    bench.cluster.run("scancel", f"{job}_[2-3]")
    wait_until("two ends", PATIENCE, lambda: [bench.tasks()[i]["exit_class"] for i in (2, 3)] == ["killed"] * 2)
    bench.cluster.run("scancel", "-t", "PD", str(job))  # all that is left
    bench.open_gate()
    status, text = bench.end_of(child)
    told = classes(bench)
    demand([told[i][1] for i in range(6)] == ["done", *["killed"] * 5], f"{told}: {text} {bench.why(5)}")
    demand(status == 1, text)
    demand(bench.effects() == ["t0"], f"{bench.effects()}")
    demand(len(list((bench.batch / "submissions").glob("*.slurm"))) == 1, "it was submitted again")


def renamed(bench):
    """A running and a waiting element get other names from their user: they are followed all the same, also by the next driver."""
    child = bench.run("--queue", "slots1", "--array", 3, "--", "sh", "-c", f"{bench.effect('t$ALLOT_ARRAY_STEP_ID')}; {bench.wait_at_gate()}")
    bench.wait_for_effect("t0")
    place = bench.batch / "submissions/1.slurm"
    wait_until("the time of the submission", PATIENCE, lambda: "submitted_at" in json.loads(place.read_text()))
    job = json.loads(place.read_text())["job_id"]
    bench.cluster.run("scontrol", "update", f"jobid={job}_0", "jobname=mine")
    bench.cluster.run("scontrol", "update", f"jobid={job}_2", "jobname=mine, too")
    child.kill()
    child.wait()
    child = bench.start("resume", bench.batch)
    # What is gone is judged after a second here; the controller is asked twice after that.
    def polls():
        return bench.requests().get("REQUEST_JOB_USER_INFO", 0)
    polls_before = polls()
    wait_until("looks at the controller", PATIENCE, lambda: polls() > polls_before + 6)
    demand(bench.effects() == ["t0"], f"{bench.effects()}")
    bench.open_gate()
    status, text = bench.end_of(child)
    demand(status == 0, f"exit status {status}: {text}")
    each_ran_once(bench, ["t0", "t1", "t2"])


def suspended_cancelled(bench):
    """A job that its user has suspended is cancelled all the same."""
    child = bench.run("--", "sh", "-c", f"{bench.effect('t')}; {bench.wait_for_ever()}")
    bench.wait_for_effect("t")
    job = json.loads((bench.batch / "submissions/1.slurm").read_text())["job_id"]
    bench.cluster.run("scontrol", "suspend", str(job))
    status, text = bench.end_of(bench.start("cancel", bench.batch))
    demand(status == 0, f"exit status {status}: {text}")
    bench.end_of(child)
    demand(classes(bench)[0][1] == "killed", f"{classes(bench)}")
    wait_until("an empty queue", PATIENCE, lambda: not bench.jobs())


def surroundings(bench):
    """A task has the variables that sbatch would set, and what it starts by srun has the task's own."""
    told = "$SLURM_CPUS_PER_TASK:$SLURM_SUBMIT_DIR:$SLURM_JOB_NAME:$SLURM_SUBMIT_HOST"
    tasks = bench.lines({"command": bench.effect(told), "resources": {"cores": 2}},
                        {"command": f"srun sh -c '{bench.effect('$MINE')}'", "env": {"MINE": "passed_on"}})
    status, text = bench.end_of(bench.run(tasks))
    demand(status == 0, f"exit status {status}: {text} {bench.why(1)}")
    first, second = sorted(bench.effects())
    demand(second == "passed_on", second)
    cores, directory, name, host = first.split(":")
    demand((cores, directory, host) == ("2", str(bench.root), os.uname().nodename) and name.startswith("allot-"), first)


def impossible_later(bench):
    """A job of one task waits, and then its queue is changed so that it can never start: a queueing error."""
    script_of(bench, bench.wait_at_gate(), partition="slots1")
    wait_until("a job", PATIENCE, bench.jobs)
    child = bench.run("--queue", "slots1", "--timeout", "5m", "--", "true")
    wait_until("two jobs", PATIENCE, lambda: len(bench.jobs()) == 2)
    bench.cluster.run("scontrol", "update", "partitionname=slots1", "MaxTime=2")
    try:
        status, text = bench.end_of(child)
    finally:
        bench.cluster.run("scontrol", "update", "partitionname=slots1", "MaxTime=UNLIMITED")
        bench.open_gate()
    demand(status == 1, f"exit status {status}: {text}")
    demand(classes(bench)[0][1] == "queueing_error" and "PartitionTimeLimit" in bench.why(0), bench.why(0))


def impossible(bench):
    """What can never start ends as a queueing error that says what to change."""
    tasks = bench.lines({"command": ["true"], "resources": {"constraint": "no-such-feature"}}, {"command": ["true"]})
    status, text = bench.end_of(bench.run(tasks))
    demand(status != 0, text)
    told = classes(bench)
    demand(told[0][1] == "queueing_error" and told[1][1] == "done", f"{told}")


def beyond_a_policy(bench):
    """What a QOS never lets one job have is told at once, with its name, and is not sent to Slurm; what it gives runs."""
    tasks = bench.lines({"command": bench.effect("t0"), "resources": {"cores": 3, "options": {"qos": "tiny"}}},
                        {"command": bench.effect("t1"), "resources": {"cores": 2, "options": {"qos": "tiny"}}},
                        {"command": bench.effect("t2"), "resources": {"cores": 3}})
    status, text = bench.end_of(bench.run(tasks))
    demand(status == 1, f"exit status {status}: {text}")
    told = classes(bench)
    demand([told[step][1] for step in range(3)] == ["queueing_error", "done", "done"], f"{told}: {text}")
    why = bench.why(0)
    demand("cores 3 is above the maximum 2" in why and 'QOS "tiny"' in why, why)
    demand(sorted(bench.effects()) == ["t1", "t2"], f"{bench.effects()}")
    sent = len(list((bench.batch / "submissions").glob("*.slurm")))
    demand(sent == 2, f"{sent} jobs")


def cannot_start(bench):
    """What could not start is refused before Slurm has it, and what its array or an earlier task makes possible runs."""
    made_later = bench.root / "made by t0"
    tasks = bench.lines({"command": f"{bench.effect('t0')}; mkdir '{made_later}'"},
                        {"command": bench.effect("t1"), "cwd": str(bench.root / "missing")},
                        {"command": bench.effect("t2"), "env": {"LARGE": "x" * 200_000}},
                        {"command": bench.effect("t3"), "stdout": str(bench.root / "missing" / "out")},
                        {"command": bench.effect("t4"), "cwd": str(made_later), "after": [0]})
    status, text = bench.end_of(bench.run(tasks))
    demand(status == 1, f"exit status {status}: {text}")
    told = classes(bench)
    demand([told[step][1] for step in range(5)] == ["done", *["queueing_error"] * 3, "done"], f"{told}: {text}")
    for step, words in ((1, "working directory"), (2, "variable LARGE"), (3, "standard output")):
        demand(words in bench.why(step), bench.why(step))
    demand(sorted(bench.effects()) == ["t0", "t4"], f"{bench.effects()}")
    sent = len(list((bench.batch / "submissions").glob("*.slurm")))
    demand(sent == 2, f"{sent} jobs")


def without_accounting(bench):
    """slurmdbd is down all the while."""
    bench.cluster.kill("slurmdbd", signal.SIGTERM)
    try:
        status, text = bench.end_of(bench.run("--array", 4, "--", "sh", "-c", bench.effect("t$ALLOT_ARRAY_STEP_ID")))
    finally:
        bench.cluster.start_daemon("slurmdbd")
    demand(status == 0, f"exit status {status}: {text}")
    each_ran_once(bench, [f"t{i}" for i in range(4)])


def packed_cancel(bench):
    """Cancelling one packed task leaves its neighbours alone."""
    tasks = bench.lines(*({"command": f"{bench.effect(f't{i}')}; {bench.wait_at_gate()}",
                           "resources": {"options": {"pack": "4", "pack_slots": "2"}}} for i in range(4)))
    child = bench.run(tasks)
    bench.wait_for_effect("t0")
    bench.wait_for_effect("t1")
    status, text = bench.end_of(bench.start("cancel", bench.batch, "--steps", "1,3"))
    demand(status == 0, f"allot cancel: exit status {status}: {text}")
    bench.open_gate()
    bench.end_of(child)
    told = classes(bench)
    demand(told[0][1] == "done" and told[2][1] == "done", f"{told}")
    demand(told[1][1] == "killed" and told[3][1] == "killed", f"{told}")
    demand("t3" not in bench.effects(), f"{bench.effects()}")


def own_script(bench):
    """`srun allot worker` in an array of the user's own, with no distributor: each task once, and the job says so."""
    (bench.root / "tasks.txt").write_text("".join(f"echo said {i}; {bench.effect(f't{i}')}; [ {i} != 7 ]\n" for i in range(20)))
    bench.batch = bench.root / "batch"
    job = script_of(bench, f"srun {bench.allot} worker --cluster lab --batch-dir {bench.batch} tasks.txt", array="1-7:2", ntasks=2,
                    partition="main")
    states = states_of(bench, job, (1, 3, 5, 7))
    demand(states == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"], f"{states}; {bench.told()}")
    each_ran_once(bench, [f"t{i}" for i in range(20)])
    ends = classes(bench)
    demand(all(ends[i][1] == ("error" if i == 7 else "done") for i in range(20)), f"{ends}")
    status, text = bench.end_of(bench.start("output", bench.batch))
    demand(status == 0 and text == "".join(f"said {i}\n" for i in range(20)), f"{status}: {text}")
    status, text = bench.end_of(bench.start("retry", bench.batch, "--failed"))
    demand(status == 1 and bench.effects().count("t7") == 2, f"{status}: {text}")


def own_script_resumed(bench):
    """A driver follows a job of the user's own, and runs again what that leaves undone when one of its elements is lost."""
    (bench.root / "tasks.txt").write_text("".join(f"{bench.effect(f't{i}')}; {bench.wait_at_gate()}\n" for i in range(4)))
    worker = f"{bench.allot} worker --cluster lab --batch-dir {bench.batch} tasks.txt"
    script_of(bench, worker, f"echo after >> {bench.root}/effects", array="0-3", partition="main")
    for i in range(4):
        bench.wait_for_effect(f"t{i}")
    child = bench.start("resume", bench.batch)
    bench.wait_for_words(child, "4 with workers that live")
    status, text = bench.end_of(bench.start("cancel", bench.batch, "--steps", "1"))
    demand(status == 0, f"allot cancel: {status}: {text}")
    bench.open_gate()
    status, text = bench.end_of(child)
    demand(status == 1, f"{status}: {text}")
    ends = classes(bench)
    demand([ends[i][1] for i in range(4)] == ["done", "killed", "done", "done"], f"{ends}: {text}")
    each_ran_once(bench, [f"t{i}" for i in range(4)])
    wait_until("the ends of the scripts", PATIENCE, lambda: not bench.jobs())
    demand(bench.effects().count("after") == 4, f"a script was ended with its worker node: {bench.effects()}")


def own_script_killed(bench):
    """A worker node of the user's own job is killed with its guards: its tasks get a verdict and run again, the others do not."""
    (bench.root / "tasks.txt").write_text("".join(f"{bench.effect(f't{i}')}; {bench.wait_at_gate()}\n" for i in range(2)))
    worker = f"{bench.allot} worker --cluster lab --batch-dir {bench.batch} tasks.txt"
    script_of(bench, worker, array="0-1", partition="slots1")  # one after the other
    bench.wait_for_effect("t0")
    child = bench.start("resume", bench.batch)
    bench.wait_for_words(child, "2 with workers that live")
    kill_all_of(bench, b"allot-element", b"allot-guard")
    bench.wait_for_effect("t0", 2)
    bench.open_gate()
    status, text = bench.end_of(child)
    demand(status == 0, f"{status}: {text}")
    each_ran_once(bench, ["t1"])
    demand(bench.effects().count("t0") == 2, f"{bench.effects()}")


def preempted(bench):
    """A job of a higher tier takes the node: the run was preempted, and the task runs again as another attempt."""
    command = f"{bench.effect('t')}; [ $ALLOT_ATTEMPT != 1 ] || {bench.wait_for_ever()}"
    child = bench.run("--queue", "scav", "--", "sh", "-c", command)
    bench.wait_for_effect("t")
    take_the_node(bench)
    status, text = bench.end_of(child)
    bench.open_gate()
    demand(status == 0, f"exit status {status}: {text}\n{bench.why(0)}")
    demand(bench.effects().count("t") == 2, f"{bench.effects()}")
    demand("preempted" in bench.why(0), bench.why(0))
    demand(bench.tasks()[0]["attempt"] == 2, f"{bench.tasks()[0]}")


def own_script_requeued(bench):
    """Slurm puts a preempted script back and starts it again: what has an end is not run again, what has none is."""
    (bench.root / "tasks.txt").write_text(f"{bench.effect('t0')}; [ -e {bench.root}/again ] || {bench.wait_for_ever()}\n{bench.effect('t1')}\n")
    script_of(bench, f"{bench.allot} worker --cluster lab --batch-dir {bench.batch} --slots 1 tasks.txt", partition="scav", requeue=None)
    bench.wait_for_effect("t0")
    (bench.root / "again").touch()
    take_the_node(bench)
    bench.wait_for_effect("t1")
    bench.open_gate()
    wait_until("an empty queue", PATIENCE, lambda: not bench.jobs())
    ends = classes(bench)
    demand(ends[0][1] == "done" and ends[1][1] == "done", f"{ends} {bench.why(0)}")
    demand(bench.effects() == ["t0", "t0", "t1"], f"{bench.effects()}")
    # Slurm leaves a job that it puts back no time to write: the first run has a beginning and no end, the second a record of its own.
    demand("run 2" in bench.why(0), bench.why(0))


def out_of_memory(bench):
    """A task above its memory, by itself and by a child of it: out_of_memory, and its neighbour in the element is done."""
    eater = ["python3", "-c", "x = bytearray(400 << 20); print(len(x))"]
    asked = {"memory": "60M", "options": {"pack": "3", "pack_slots": "1"}}
    tasks = bench.lines({"command": eater, "resources": asked}, {"command": "python3 -c 'x = bytearray(400 << 20)'; exit 3", "resources": asked},
                        {"command": "true", "resources": asked})
    status, text = bench.end_of(bench.run(tasks, "--retry", "out_of_memory=0"))
    told = classes(bench)
    demand([told[i][1] for i in range(3)] == ["out_of_memory", "out_of_memory", "done"], f"{told}: {text}")


def exit_statuses(bench):
    """What ends like a kill and is none, and kills: each is told as what it was."""
    tasks = bench.lines({"command": "exit 137"}, {"command": "kill -9 $$"}, {"command": "kill -SEGV $$"}, {"command": "exit 255"})
    bench.end_of(bench.run(tasks, "--retry", "error=0"))
    told = bench.tasks()
    ends = [(told[i]["exit_class"], told[i]["exit_code"], told[i]["signal"]) for i in range(4)]
    demand(ends == [("error", 137, None), ("signaled", None, 9), ("signaled", None, 11), ("error", 255, None)], f"{ends}")


def drained_node(bench):
    """A node is drained under a running task: that ends as it would have, and the next ones run elsewhere."""
    child = bench.run("--queue", "main", bench.lines({"name": "a", "command": f"{bench.effect('t0')}; {bench.wait_at_gate()}"},
                                  {"command": bench.effect("t1"), "after": ["a"]}))
    bench.wait_for_effect("t0")
    node = node_of_the_job(bench)
    bench.cluster.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    try:
        bench.open_gate()
        status, text = bench.end_of(child)
    finally:
        bench.cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        bench.cluster.wait_for_nodes()
    demand(status == 0, f"exit status {status}: {text}")
    each_ran_once(bench, ["t0", "t1"])
    demand(bench.tasks()[1]["node"] != node, bench.why(1))


def requests_counted(bench):
    """What a batch asks of the controller, as that counts it: one submission, polls by the clock, and nothing for a task."""
    asked = []
    for tasks in (20, 120):
        bench.cluster.run("sdiag", "-r")
        began = time.monotonic()
        status, text = bench.end_of(bench.start("run", "--cluster", "lab", "--batch-dir", f"{bench.batch}{tasks}", "--array", tasks,
                                                "--", "true"))
        seconds = time.monotonic() - began
        demand(status == 0, f"exit status {status}: {text}")
        told = bench.requests()
        demand(told.pop("REQUEST_SUBMIT_BATCH_JOB", 0) == 1, f"{told}")
        polls = told.pop("REQUEST_JOB_USER_INFO", 0)
        demand(polls <= seconds / 0.3 + 2, f"{polls} polls in {seconds} s")  # shortest_poll of the bench
        of_daemons = ("REQUEST_COMPLETE_BATCH_SCRIPT", "MESSAGE_EPILOG_COMPLETE", "MESSAGE_NODE_REGISTRATION_STATUS", "REQUEST_STATS_INFO",
                      "REQUEST_PERSIST_INIT", "ACCOUNTING_UPDATE_MSG")
        asked.append({name: count for name, count in told.items() if name not in of_daemons})
    demand(sum(asked[1].values()) <= sum(asked[0].values()), f"more tasks, more requests: {asked}")
    demand(sum(asked[1].values()) <= 12, f"{asked}")


def few_at_once(bench):
    """A QOS lets three jobs into the queue, with two cores, and the batch has ten: it goes in as there is room, and is not given up."""
    asked = {"options": {"qos": "tiny"}}
    blocker = script_of(bench, bench.wait_at_gate(), partition="main", qos="tiny", array="0-2")
    tasks = bench.lines(*({"command": bench.effect(f"t{i}"), "resources": asked} for i in range(10)))
    child = bench.run(tasks)
    bench.wait_for_words(child, "a limit of the account or QOS")  # nothing is let in: others have the room
    bench.cluster.run("scancel", f"{blocker}_[0-1]")  # one core and two places
    bench.wait_for_effect("t9")
    bench.open_gate()
    status, text = bench.end_of(child)
    demand(status == 0, f"exit status {status}: {text}")
    each_ran_once(bench, [f"t{i}" for i in range(10)])
    bench.batch = bench.root / "again"
    status, text = bench.end_of(bench.run(tasks))
    demand(status == 0, f"exit status {status}: {text}")


def random_kills(bench):
    """The driver is killed at twenty moments drawn from a seed: nothing is forgotten, nothing is submitted or run twice."""
    moments = random.Random(20261128)
    root = bench.batch
    for round_number in range(20):
        bench.batch = root.with_name(f"batch{round_number}")
        child = bench.run("--array", 6, "--", "sh", "-c", bench.effect(f"r{round_number}t$ALLOT_ARRAY_STEP_ID"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(moments.uniform(0, 1.2))
        child.kill()
        bench.end_of(child)
        if not (bench.batch / "batch.json").exists():
            continue  # killed before there was a batch
        status, text = bench.end_of(bench.start("resume", bench.batch), 200)
        if status == 2 and "never" in text:
            demand(f"r{round_number}t0" not in bench.effects(), f"round {round_number}: {text}: {bench.effects()}")
            continue  # killed before all of its tasks were there
        demand(status == 0, f"round {round_number}: exit status {status}: {text}")
        each_ran_once(bench, [f"r{round_number}t{i}" for i in range(6)])


def reused_id(bench):
    """slurmctld loses its state while a task runs, and gives its id to a job of somebody else's: that one is not taken for
    it, nor touched."""
    child = bench.run("--", "sh", "-c", f"{bench.effect('t')}; [ $ALLOT_ATTEMPT != 1 ] || {bench.wait_for_ever()}")
    bench.wait_for_effect("t")
    lost = json.loads((bench.batch / "submissions/1.slurm").read_text())["job_id"]
    os.kill(child.pid, signal.SIGSTOP)  # it looks again when the other job is there
    bench.cluster.kill("slurmctld")
    shutil.rmtree(bench.cluster.directory / "ctld")
    (bench.cluster.directory / "ctld").mkdir()
    configuration = bench.cluster.directory / "slurm.conf"
    before = configuration.read_text()
    configuration.write_text(f"{before}FirstJobId={lost}\n")  # what it comes to by itself, some thousand jobs later
    try:
        bench.cluster.start_daemon("slurmctld")
    finally:
        configuration.write_text(before)
    bench.cluster.wait_for_nodes()
    other = int(script_of(bench, bench.effect("foreign"), bench.wait_at_gate(), bench.effect("foreign_ended"), partition="slots4"))
    demand(other == lost, f"the controller gave id {other} and not {lost}")
    bench.wait_for_effect("foreign")
    os.kill(child.pid, signal.SIGCONT)
    status, text = bench.end_of(child)
    demand(status == 0, f"exit status {status}: {text}\n{bench.why(0)}")
    demand(bench.effects().count("t") == 2, f"{bench.effects()}")
    demand("lost" in bench.why(0) or "node_failed" in bench.why(0) or "preempted" in bench.why(0), bench.why(0))
    bench.open_gate()
    bench.wait_for_effect("foreign_ended")


TESTS = {test.__name__: test for test in (hung_controller, restarted_controller, killed_driver, driver_away, killed_before_send,
                                          killed_after_send, killed_before_verdict,
                                          killed_element_before_publish, killed_element_published,
                                          removal_killed_before, removal_killed_after, failed_node, killed_element, usage_accounted, timed_out, scancelled,
                                          scancelled_waiting, renamed, suspended_cancelled, surroundings, impossible_later,
                                          impossible, beyond_a_policy, cannot_start, without_accounting, packed_cancel, own_script,
                                          own_script_resumed, own_script_killed, own_script_requeued, preempted,
                                          out_of_memory, exit_statuses, drained_node, requests_counted, few_at_once, random_kills, reused_id)}


def main():
    if sys.argv[1:2] == ["list"]:
        print("\n".join(TESTS))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=TESTS)
    parser.add_argument("--build", required=True)
    parser.add_argument("--cluster", required=True)
    options = parser.parse_args()
    cluster = SlurmCluster(options.cluster)
    cluster.is_temporary = False
    cluster.adopt()
    bench = Bench(options.build, cluster, **getattr(TESTS[options.name], "parameters", {}))
    try:
        TESTS[options.name](bench)
    except (Violation, Exception) as error:  # noqa: BLE001: whatever it is, the story is told
        print(f"VIOLATION in {options.name}: {error}")
        return 1
    finally:
        bench.close()
    print(f"{options.name}: holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
