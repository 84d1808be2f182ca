#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What slurm_faults.py works with: a batch on a real cluster, scripts of a user's own, and what is looked at afterwards."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "slurm_cluster"))
from slurm_cluster import SlurmCluster, wait_until  # noqa: E402,F401

PATIENCE = 120


class Violation(Exception):
    """What does not hold."""


def demand(condition, text):
    if not condition:
        raise Violation(text)


class Bench:
    """A place for a batch, a cluster's file, and the programs."""

    def __init__(self, build, cluster, **parameters):
        self.cluster = cluster
        self.allot = pathlib.Path(build) / "bin/allot"
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="allot-slurm-faults-"))
        self.batch = self.root / "batch"
        settings = {"slurm_conf": f"{cluster.directory}/slurm.conf", "record_interval": "50ms", "shortest_poll": "300ms",
                    "longest_poll": "1s", "requests_per_minute": 600, "record_patience": "1s", "kill_grace": "1s",
                    "answer_timeout": "15s", "ambiguity_window": "5s", **parameters}
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        clusters = self.root / "config/allot/clusters"
        clusters.mkdir(parents=True)
        retry = "[retry]\nnode_failed = 2\npreempted = 2\nlost = 1\nexclude_node_after = 0\n"
        (clusters / "lab.toml").write_text('plugin = "slurm"\n[parameters]\n' + "\n".join(lines) + "\n" + retry)
        self.environment = dict(cluster.environment, XDG_CONFIG_HOME=str(self.root / "config"),
                                XDG_STATE_HOME=str(self.root / "state"), HOME=str(self.root))
        self.children = []
        self.said = {}  # by child: what of its output was read before its end
        # Whoever reads from a gate waits until something is written into it. This process has both open for reading,
        # too, so that nobody waits for the other end or sees one that is closed.
        self.gates = {}
        for name in ("gate", "never"):
            os.mkfifo(self.root / name)
            self.gates[name] = os.open(self.root / name, os.O_RDWR)

    def start(self, *words):
        child = subprocess.Popen([str(self.allot), *map(str, words)], env=self.environment, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.root)
        self.children.append(child)
        return child

    def run(self, *words, seconds=PATIENCE):
        return self.start("run", "--cluster", "lab", "--batch-dir", self.batch, *words)

    def lines(self, *tasks):
        path = self.root / "tasks.jsonl"
        path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
        return path

    def end_of(self, child, seconds=PATIENCE):
        try:
            text, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise Violation(f"allot did not end within {seconds} s; {self.told()}") from error
        return child.returncode, self.said.get(child, "") + text

    def tasks(self):
        done = subprocess.run([str(self.allot), "status", str(self.batch), "--tasks", "--json"], env=self.environment,
                              capture_output=True, text=True, timeout=60, check=False)
        return {task["step"]: task for task in map(json.loads, done.stdout.splitlines())}

    def told(self):
        return subprocess.run([str(self.allot), "status", str(self.batch)], env=self.environment, capture_output=True,
                              text=True, timeout=60, check=False).stdout

    def why(self, step):
        return subprocess.run([str(self.allot), "status", str(self.batch), "--why", str(step)], env=self.environment,
                              capture_output=True, text=True, timeout=60, check=False).stdout

    def effects(self):
        """What tasks have left in the file `effects`: a line for each run of each."""
        path = self.root / "effects"
        return path.read_text().split() if path.exists() else []

    def wait_at_gate(self):
        """For a task: a shell command that ends when the gate is opened."""
        return f"read line < {self.root}/gate"

    def wait_for_ever(self):
        return f"read line < {self.root}/never"

    def open_gate(self):
        os.write(self.gates["gate"], b"\n" * 1000)  # a line for each who waits, now or later

    def wait_for_words(self, child, words):
        """Until the child has said them."""
        said = self.said.setdefault(child, "")
        while words not in said:
            line = child.stdout.readline()
            demand(line, f"allot ended without saying {words!r}: {said}")
            said += line
            self.said[child] = said

    def effect(self, text):
        return f"echo {text} >> {self.root}/effects"

    def jobs(self):
        return self.cluster.run("squeue", "-h", "-o", "%i", "--me", check=False).split()

    def requests(self):
        """What the controller has been asked since its counters were reset, by kind."""
        told = self.cluster.run("sdiag").partition("by message type")[2].partition("by user")[0]
        return {line.split()[0]: int(line.partition("count:")[2].split()[0]) for line in told.splitlines() if "count:" in line}

    def wait_for_effect(self, text, count=1):
        wait_until(f"the effect {text}", PATIENCE, lambda: self.effects().count(text) >= count)

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        self.cluster.run("scancel", "--me", check=False)
        for gate in self.gates.values():
            os.close(gate)
        # The next test begins with an empty queue.
        wait_until("an empty queue", PATIENCE, lambda: not self.jobs())
        shutil.rmtree(self.root, ignore_errors=True)


def each_ran_once(bench, names):
    effects = bench.effects()
    for name in names:
        demand(effects.count(name) == 1, f"{name} ran {effects.count(name)} times; {bench.told()}")


def classes(bench):
    return {step: (task["state"], task.get("exit_class")) for step, task in bench.tasks().items()}


def kill_all_of(bench, *programs):
    """Elements and their guards, which are forked from them, have the batch's path among their words. They are stopped
    first: none is to write down that it has seen the other's end."""
    mine = str(bench.batch).encode()
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (path / "comm").read_bytes().strip()
            if mine in (path / "cmdline").read_bytes() and name in programs:
                found.append(int(path.name))
    for signal_number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)


def script_of(bench, *lines, **options):
    """Submits a script of the user's own; returns the id of its job."""
    script = bench.root / "job.sh"
    wanted = "".join(f"#SBATCH --{key.replace('_', '-')}" + (f"={value}\n" if value is not None else "\n")
                     for key, value in options.items())
    script.write_text(f"#!/bin/sh\n{wanted}#SBATCH --output={bench.root}/out.%a\n" + "\n".join(lines) + "\n")
    done = subprocess.run(["sbatch", "--parsable", str(script)], env=bench.environment, cwd=bench.root, text=True,
                          capture_output=True, timeout=60, check=True)
    return done.stdout.strip()


def states_of(bench, job, elements):
    """What the accounting has of the elements, once all of them are in it with their end."""
    names = [f"{job}_{element}" for element in elements]
    states = {}

    def all_ended():
        told = bench.cluster.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "jobid,state").splitlines()
        states.update(line.split("|") for line in told)
        return all(states.get(name) in ("COMPLETED", "FAILED") for name in names)

    wait_until(f"the end of job {job} in the accounting", PATIENCE, all_ended)
    return [states[name] for name in names]


def node_of_the_job(bench):
    return bench.cluster.run("squeue", "-h", "-t", "R", "-o", "%N", "--me").split()[0]


def take_the_node(bench):
    """A job of a higher tier takes all of the node where the only job runs; it goes on until the gate is opened."""
    script_of(bench, bench.wait_at_gate(), partition="main", nodelist=node_of_the_job(bench), cpus_per_task=16)
