#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the build lie, once in each way it can (ALLOT_SABOTAGE), and demands that the checker notices.

usage: broken_builds.py --build DIR [--only NAME]     exit status 0: every lie was found, and an honest run was clean
"""
import argparse
import contextlib
import sys

from fault_batch import LONG_STEP, FaultBatch, Programs, Violation
from kill_rounds import kill


def whole_run(batch, sabotage):
    batch.standard_tasks()
    batch.finish(batch.start("run", sabotage=sabotage))


def killed_and_resumed(batch, sabotage, *, with_workers):
    """The driver is killed while a task runs; with_workers: and its worker nodes and guards, all at once."""
    batch.standard_tasks(long_seconds=2)
    driver = batch.start("run")
    batch.wait_for_start(LONG_STEP, driver)
    found = batch.processes()
    victims = found["driver"] + (found["node"] + found["guard"] if with_workers else [])
    kill(*victims)
    batch.finish(driver)
    batch.finish(batch.start("resume", sabotage=sabotage))


# Name of the sabotage → the rule by which it must be found, and how to drive the batch.
SABOTAGES = {
    "skip_started": ("not_started", whole_run),
    "double_finish": ("finished_twice", whole_run),
    "always_done": ("no_effect", whole_run),
    "leave_orphans": ("left_behind", whole_run),
    "forget_task": ("forgotten", whole_run),
    "engine_rerun_finished": ("ran_again", lambda batch, name: killed_and_resumed(batch, name, with_workers=False)),
    "engine_no_verdict": ("ran_again", lambda batch, name: killed_and_resumed(batch, name, with_workers=True)),
}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--build", required=True)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    programs = Programs(options.build)
    failures = 0
    ways = {name: way for name, way in SABOTAGES.items() if options.only in name}
    for way in {way for _, way in ways.values()}:
        with FaultBatch(programs) as batch:
            way(batch, None)
            status, lines = batch.check()
            if status != 0:
                failures += 1
                print("an honest run is called a lie:", *lines, batch.story(), sep="\n")
    for name, (rule, way) in ways.items():
        with FaultBatch(programs) as batch:
            with contextlib.suppress(Violation):  # a lying build may well not come to an end
                way(batch, name)
            status, lines = batch.check(wait=2)
            noticed = [line for line in lines if line.startswith(rule + ":")]
            print(f"{name}: {noticed[0] if noticed else 'NOT NOTICED'}")
            if status != 1 or not noticed:
                failures += 1
                print(*lines, batch.story(), sep="\n")
    print(f"broken builds: {len(ways)}, {failures} failures")
    return 1 if failures or not ways else 0


if __name__ == "__main__":
    sys.exit(main())
