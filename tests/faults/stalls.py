#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What once stalled a run, or let it be judged without proof. Each test runs the real programs.

usage: stalls.py NAME --build DIR      NAME: one of the tests below, or "list"
Exit status 0: it holds; 1: it does not.
"""
import os
import pathlib
import resource
import signal
import sys

from fault_batch import FaultBatch, kill, main_of, read_bytes, wait_until
from resource_faults import demand, demand_class, run_lines, tasks_of


def long_task_first(programs):
    """A long task does not hold up the ten thousand behind it, which are more than the queue of a worker node has."""
    with FaultBatch(programs) as batch:
        batch.leaves_effects = False
        gate = batch.root / "gate"
        os.mkfifo(gate)
        batch.write_tasks([{"command": ["cat", str(gate)]}] + [{"command": ["true"]}] * 10_000)
        driver = batch.start("run")
        wait_until(lambda: batch.count_ended() == 10_000 or driver.poll() is not None, 120,
                   "the end of all tasks but the long one")
        demand(batch.count_ended() == 10_000, f"{batch.count_ended()} have ended: {batch.errors(driver)}")
        with open(gate, "w"):
            pass
        demand(batch.finish(driver) == 0, "the run failed")
        batch.must_be_clean()


def long_errors(programs):
    """Records of more than a message's size at once: each error text has 10 000 characters of four bytes."""
    with FaultBatch(programs) as batch:
        batch.leaves_effects = False
        (batch.root / "text").write_text("😀" * 10_000)
        batch.write_tasks([{"command": f"cat {batch.root}/text >&2; exit 1"}] * 600)
        # Gathered so long that a commit has more than one message can hold.
        batch.cluster.write_text(batch.cluster.read_text().replace('commit_interval = "2ms"', 'commit_interval = "2s"'))
        driver = batch.start("run")
        demand(batch.finish(driver, 120) == 1, "no failure is told")
        demand(batch.result(driver)["by_class"]["error"] == 600, f"{batch.result(driver)}")
        batch.must_be_clean()


def stopped_guard(programs):
    """A task that stops its guard does not escape its limit, and the batch goes on."""
    batch, tasks, _ = run_lines(programs, [{"command": "kill -STOP $PPID; sleep 60", "timeout": "500ms"},
                                           {"command": "true"}], 60)
    with batch:
        demand_class(tasks, 0, "timed_out")
        demand_class(tasks, 1, "done")


def stopped_worker_node(programs):
    """A worker node that is stopped is woken; its tasks go on."""
    with FaultBatch(programs) as batch:
        batch.standard_tasks(long_seconds=1)
        driver = batch.start("run")
        batch.wait_for_start(5, driver)
        for pid in batch.processes()["node"]:
            os.kill(pid, signal.SIGSTOP)
        demand(batch.finish(driver) == 1, f"not the tasks' own failures: {batch.errors(driver)}")
        batch.must_be_clean("--strict")


def node_without_descriptors(programs):
    """A guard dies while its worker node can open nothing: what it did is settled when that has passed, not guessed."""
    with FaultBatch(programs) as batch:
        batch.standard_tasks(long_seconds=30)
        driver = batch.start("run")
        guard = batch.guard_of(batch.wait_for_start(5, driver))
        nodes = batch.processes()["node"]
        limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in nodes}
        for pid in nodes:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, limits[pid][1]))
        kill(guard)
        # Its worker node has reaped it, and so has tried to settle what it did.
        wait_until(lambda: not os.path.exists(f"/proc/{guard}") or driver.poll() is not None, 30, "the guard's end")
        wait_until(lambda: "EMFILE" in batch.errors(driver) or driver.poll() is not None, 30, "a word about it")
        demand(driver.poll() is None, f"the driver left: {batch.errors(driver)}")
        batch.must_be_clean("--running")
        for pid in nodes:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits[pid])
        wait_until(lambda: len(batch.effect_lines(5)) > 1 or driver.poll() is not None, 30, "the second run")
        kill(int(batch.effect_lines(5)[-1][4]))
        batch.finish(driver)
        batch.must_be_clean("--killed")


def driver_without_descriptors(programs):
    """A worker node dies while the driver can open nothing: its tasks are judged when that has passed."""
    with FaultBatch(programs) as batch:
        batch.standard_tasks(long_seconds=0.5)
        driver = batch.start("run")
        batch.wait_for_start(5, driver)
        limits = resource.prlimit(driver.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(driver.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        nodes = batch.processes()["node"]
        kill(*nodes)
        wait_until(lambda: not set(nodes) & set(batch.processes()["node"]), 30, "their end")
        resource.prlimit(driver.pid, resource.RLIMIT_NOFILE, limits)
        demand(batch.finish(driver, 120) == 1, f"not the tasks' own failures: {batch.errors(driver)}")
        batch.must_be_clean("--strict")


def adoption_without_descriptors(programs):
    """A driver comes back while a worker node cannot accept it: it is heard when that has passed, and nothing runs
    twice."""
    with FaultBatch(programs) as batch:
        batch.standard_tasks(long_seconds=60)
        driver = batch.start("run")
        task = batch.wait_for_start(5, driver)
        kill(driver.pid)
        driver.wait()
        nodes = batch.processes()["node"]
        limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in nodes}
        for pid in nodes:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[pid][1]))
        successor = batch.start("resume")
        # The kernel lists a connection that nobody has accepted without an inode, by the name it was made to.
        sockets = str(batch.root / "runtime")

        def is_waiting():
            lines = (line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines())
            return any(line[6] == "0" and line[7].startswith(sockets) for line in lines if len(line) > 7)

        wait_until(lambda: is_waiting() or successor.poll() is not None, 30, "the second driver's connection")
        demand(successor.poll() is None, f"the second driver left: {batch.errors(successor)}")
        for pid in nodes:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits[pid])
        wait_until(lambda: batch.count_ended() == 19 or successor.poll() is not None, 60, "the end of the other tasks")
        kill(task)
        demand(batch.finish(successor) == 1, f"not the tasks' own failures: {batch.errors(successor)}")
        demand(len(batch.effect_lines(5)) == 1, f"the long task ran again: {batch.effect_lines(5)}")
        batch.must_be_clean("--killed")


def slot_given_up(programs):
    """A slot whose guards end before they have done anything is given up, and the others do its work."""
    with FaultBatch(programs) as batch:
        batch.leaves_effects = False
        batch.write_tasks([{"command": f"cd {batch.root}; mkfifo gate-{step}; echo $PPID >new-{step}; "
                                       f"mv new-{step} guard-{step}; cat gate-{step}"} for step in range(2)]
                          + [{"command": "true", "after": [0, 1]}] * 20)
        batch.cluster.write_text(batch.cluster.read_text().replace("slots = 3", "slots = 2"))  # one worker node's
        driver = batch.start("run")
        noted = [batch.root / f"guard-{step}" for step in range(2)]
        wait_until(lambda: all(path.exists() for path in noted) or driver.poll() is not None, 30, "the start of both")
        guards = [int(path.read_text()) for path in noted]
        # The first slot, so that the limit of a worker node (slots below a number) must step over it.
        first = [b"slot=0" in read_bytes(f"/proc/{pid}/cmdline").split(b"\0") for pid in guards].index(True)
        with open(batch.root / f"gate-{first}", "w"):
            pass
        wait_until(lambda: batch.count_ended() == 1 or driver.poll() is not None, 30, "the end of the first slot's task")

        def idle_guards():
            return [pid for pid in batch.processes()["guard"] if pid != guards[1 - first]]

        def log():
            return read_bytes(batch.directory / "worker.log").decode()

        killed = 0
        while "is given up" not in log():
            wait_until(lambda: idle_guards() or "is given up" in log(), 30, "another guard, or that there is none")
            for pid in idle_guards():
                kill(pid)
                wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), 30, "its end")
                killed += 1
        demand(killed >= 5, f"given up after {killed} deaths")
        with open(batch.root / f"gate-{1 - first}", "w"):
            pass
        demand(batch.finish(driver) == 0, f"the run failed: {batch.errors(driver)}")
        batch.must_be_clean()


TESTS = {test.__name__: test for test in (long_task_first, long_errors, stopped_guard, stopped_worker_node,
                                          node_without_descriptors, driver_without_descriptors,
                                          adoption_without_descriptors, slot_given_up)}


if __name__ == "__main__":
    sys.exit(main_of(TESTS, __doc__))
