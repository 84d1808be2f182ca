#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Snakemake 7 as a client of allot: a workflow whose jobs are submitted, asked about and cancelled by allot.

usage: snakemake_test.py ALLOT [JOBS]
JOBS (default 12): how many jobs the workflow has; one of them fails, and one runs until it is cancelled.
"""
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

SNAKEFILE = """
rule all:
    input: [f"good/{i}" for i in range(%(good)d)], "bad", "endless"

rule good:
    output: "good/{i}"
    shell: "echo {wildcards.i} >{output}"

rule bad:
    output: "bad"
    shell: "echo the reason of the failure >&2; exit 7"

rule endless:
    output: "endless"
    shell: "echo $$ >endless.pid; cat endless.gate && touch {output}"
"""
PATIENCE = 900


LOG = []  # where snakemake writes


def require(condition, what):
    if not condition:
        print(*(path.read_text()[-8000:] for path in LOG))
        sys.exit("FAILED: " + what)


def wait_until(what, condition, process):
    until = time.monotonic() + PATIENCE
    while not condition():
        require(process.poll() is None, f"snakemake ended before {what}")
        require(time.monotonic() < until, f"{what}: not within {PATIENCE} s")
        time.sleep(0.2)  # what is waited for are files that snakemake's jobs write


def wait_for_driver(runtime):
    """The background driver leaves by itself when it has had nothing to do for a while."""
    for lock in (runtime / "allot").glob("background-*"):
        pid = int(lock.read_text().split()[0])
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ready, _, _ = select.select([descriptor], [], [], 60)
        require(ready, f"the background driver (process {pid}) has not left")


def main():
    allot, jobs = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 12
    good = jobs - 2
    with tempfile.TemporaryDirectory(prefix="allot-snakemake-") as place:
        place = pathlib.Path(place)
        work, runtime = place / "work", place / "run"
        work.mkdir()
        runtime.mkdir(mode=0o700)
        (work / "Snakefile").write_text(SNAKEFILE % {"good": good})
        os.mkfifo(work / "endless.gate")
        environment = dict(os.environ, PATH=f"{allot.parent}:{os.environ['PATH']}", XDG_STATE_HOME=str(place / "state"),
                           XDG_RUNTIME_DIR=str(runtime), XDG_CACHE_HOME=str(place / "cache"), LC_ALL="C.UTF-8")
        command = ["snakemake", "--jobs", "20", "--keep-going", "--latency-wait", "5", "--nocolor",
                   "--max-jobs-per-second", "50", "--max-status-checks-per-second", "20",
                   "--cluster", "allot submit --parsable --driver-idle 2s --",
                   "--cluster-status", "allot status --snakemake", "--cluster-cancel", "allot cancel"]
        log = (place / "log").open("w")
        LOG.append(place / "log")
        snakemake = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)
        try:
            wait_until("the endless job runs", (work / "endless.pid").exists, snakemake)
            wait_until("the good jobs are done", lambda: len(list(work.glob("good/*"))) == good, snakemake)
            wait_until("the failure is told", lambda: "Error in rule bad" in (place / "log").read_text(), snakemake)
            wait_until("all of them are told", lambda: (place / "log").read_text().count("Finished job") == good,
                       snakemake)
            snakemake.send_signal(signal.SIGINT)
            status = snakemake.wait(timeout=PATIENCE)
        except (SystemExit, subprocess.TimeoutExpired):
            snakemake.kill()
            batches = [str(path) for path in (place / "state/allot/batches").glob("*")]
            subprocess.run([allot, "cancel", "--grace", "0s", *batches], env=environment, check=False)
            raise
        told = (place / "log").read_text()
        require(status != 0, "snakemake says that all is well")
        for i in range(good):
            require((work / "good" / str(i)).read_text() == f"{i}\n", f"good/{i}")
        require(not (work / "bad").exists() and not (work / "endless").exists(), "outputs that must not be there")
        pid = int((work / "endless.pid").read_text())
        require(not pathlib.Path(f"/proc/{pid}").exists(), "the cancelled job is still there")

        allot_run = lambda *words: subprocess.run([allot, *words], env=environment, capture_output=True, text=True)
        batches = sorted(path.name for path in (place / "state/allot/batches").iterdir())
        require(len(batches) == jobs, f"{len(batches)} batches for {jobs} jobs")
        words = [allot_run("status", "--snakemake", batch).stdout.strip() for batch in batches]
        require(words.count("success") == good and words.count("failed") == 2, f"status: {words}")
        # Snakemake names the failed job's batch, by which its output is found.
        external = re.search(r"Error in rule bad:.*?cluster_jobid: (\S+)", told, re.S)
        require(external is not None, "snakemake does not name the job that failed")
        error = allot_run("output", "--stderr", external.group(1))
        require("the reason of the failure" in error.stdout, "stderr of the failed job: " + error.stdout + error.stderr)
        wait_for_driver(runtime)
        print(f"{jobs} jobs: {good} good, one failed, one cancelled")


main()
