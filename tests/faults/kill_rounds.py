#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Kills processes of batches, resumes, and lets the checker judge. docs/faults.md says what is promised.

usage: kill_rounds.py boundary|random|abandoned --build DIR [--sample N] [--rounds N] [--seed N] [--jobs N] [--only TEXT]
  boundary   one round per row of fault_points.txt and passage (1st, 2nd, 5th); --sample N: only N of them, spread
  random     --rounds N rounds (default 50), each with one to three kills at moments drawn from the seed, every fifth
             on the sequential plugin; with ALLOT_SOAK_SECONDS in the environment further ones until that time is over
  abandoned  --rounds N rounds: the driver is killed at a random moment and nobody resumes; all must leave by itself
Exit status 0: nothing was violated; 1: each violation with its story; 2: misuse.
"""
import argparse
import concurrent.futures
import os
import pathlib
import random
import sys
import time

from fault_batch import LONG_STEP, FaultBatch, Programs, Violation, kill, wait_until

PASSAGES = (1, 2, 5)


def read_table():
    """Rows (point, role, situation, passages) of fault_points.txt."""
    rows = []
    for line in (pathlib.Path(__file__).parent / "fault_points.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            point, role, situation, passages = line.split()
            rows.append((point, role, situation, int(passages)))
    return rows


def boundary_rounds():
    return [(point, role, situation, n) for point, role, situation, passages in read_table()
            for n in PASSAGES if n <= passages and situation != "slurm"]


def boundary(batch, point, role, situation, passage):
    fault = f"{point}:{passage}"
    if situation in ("run", "sequential"):
        batch.standard_tasks()
        status = batch.finish(batch.start("run", fault, role))
    elif situation in ("adds", "adds_alone"):
        batch.write_tasks([{"command": batch.effect_command(0)}, batch.adding_task(1, 3)])
        status = batch.finish(batch.start("run", fault, role))
        if situation == "adds_alone":
            nobody_resumes(batch)
    elif situation == "remove":
        batch.standard_tasks()
        batch.finish(batch.start("run"))
        links = batch.plant_links()
        batch.finish(batch.start("remove", fault, role))
        if batch.flag.exists():
            return batch.remove_to_the_end(links)
    elif situation == "guard_dies":
        batch.standard_tasks(long_seconds=2)
        driver = batch.start("run", fault, role)
        kill(batch.guard_of(batch.wait_for_start(LONG_STEP, driver)))
        status = batch.finish(driver)
    else:
        batch.standard_tasks(long_seconds=2)
        driver = batch.start("run")
        batch.wait_for_start(LONG_STEP, driver)
        kill(driver.pid)
        batch.finish(driver)
        if point.endswith("_worker"):  # a driver starts worker nodes only where none is left to adopt
            for pid in batch.processes()["node"]:
                kill(pid)
        status = batch.finish(batch.start("resume", fault, role))
    if not batch.flag.exists():
        raise Violation(f"not_passed: {role} does not pass {fault} ({situation}): correct fault_points.txt")
    if not batch.was_made():
        if batch.finish(batch.start("resume")) < 2:
            raise Violation("half_made: resume took a batch that was never made whole")
        return batch.must_be_untouched()
    if status not in (0, 1):
        batch.resume_to_the_end()
    batch.must_be_clean("--strict")


def write_random_tasks(batch, draw):
    tasks = [{"command": batch.effect_command(step, draw.choice([0, 0, 0, 1]), round(draw.uniform(0, 0.06), 3),
                                              *draw.choice([[], [], [], [], ["escape"]])),
              "retry": draw.choice([{}, {"error": 1}, {"error": "2:20ms"}])} for step in range(40)]
    batch.write_tasks([*tasks, {**batch.adding_task(40, 3), "priority": draw.choice([0, 1])}])


def nobody_resumes(batch):
    """What runs ends and is recorded, and then all leave by themselves."""
    wait_until(lambda: not any(batch.processes().values()), 15, "left_behind: the end of all processes")
    batch.must_be_clean("--running")


def abandoned(batch, seed):
    draw = random.Random(seed)
    write_random_tasks(batch, draw)
    driver = batch.start("run")
    time.sleep(draw.uniform(0, 0.5))  # the moment itself is what is drawn
    kill(driver.pid)
    batch.finish(driver)
    if not batch.was_made():
        return batch.must_be_untouched()
    nobody_resumes(batch)


def random_kills(batch, seed):
    """Up to three kills (a loss is repeated three times at most), at any moment from the first process on."""
    draw = random.Random(seed)
    write_random_tasks(batch, draw)
    driver = batch.start("run")
    tasks_killed = False
    for _ in range(draw.randint(1, 3)):
        target = draw.choice(["driver", "node", "guard", "task", "all of allot"])
        time.sleep(draw.uniform(0, 0.7))  # the moment itself is what is drawn, not a wait for something
        found = batch.processes()
        victims = found["driver"] + found["node"] + found["guard"]
        if target != "all of allot":
            victims = found[target] and [draw.choice(sorted(found[target]))]
        batch.history.append(f"kill -9 {target} {victims}")
        kill(*victims)
        tasks_killed = tasks_killed or (target == "task" and bool(victims))
        if not victims or driver.pid not in victims:
            continue
        batch.finish(driver)
        if not batch.was_made():
            return batch.must_be_untouched()
        if target == "driver" and draw.random() < 0.3:
            nobody_resumes(batch)
        driver = batch.start("resume")
    if batch.finish(driver) not in (0, 1):
        if not batch.was_made():
            raise Violation("no_end: nobody killed the driver, and it made no batch")
        batch.resume_to_the_end()
    batch.must_be_clean("--strict", *(["--killed"] if tasks_killed else []))


def run_one(programs, name, plugin, play):
    """Returns a failure's text, or nothing."""
    try:
        with FaultBatch(programs, plugin=plugin) as batch:
            play(batch)
    except Violation as violation:
        return f"VIOLATION in {name}\n{violation}\n{violation.story}\n"
    return None


def random_play(seed):
    plugin = "sequential" if seed % 5 == 0 else "multiprocess"
    return f"random seed {seed}", plugin, lambda batch: random_kills(batch, seed)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("kind", choices=["boundary", "random", "abandoned"])
    parser.add_argument("--build", required=True)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    programs = Programs(options.build)
    plays = []
    if options.kind == "boundary":
        rounds = boundary_rounds()
        if options.sample:
            rounds = [rounds[i * len(rounds) // options.sample] for i in range(options.sample)]
        for row in rounds:
            plugin = "sequential" if row[2] == "sequential" else "multiprocess"
            plays.append((" ".join(map(str, row)), plugin, lambda batch, row=row: boundary(batch, *row)))
    elif options.kind == "abandoned":
        plays = [(f"abandoned seed {seed}", "multiprocess", lambda batch, seed=seed: abandoned(batch, seed))
                 for seed in range(options.seed, options.seed + options.rounds)]
    else:
        plays = [random_play(seed) for seed in range(options.seed, options.seed + options.rounds)]
    plays = [play for play in plays if options.only in play[0]]
    began = time.monotonic()
    soak_seconds = float(os.environ.get("ALLOT_SOAK_SECONDS", "0")) if options.kind == "random" else 0
    failures = rounds = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        while plays:
            rounds += len(plays)
            for failure in pool.map(lambda play: run_one(programs, *play), plays):
                if failure:
                    failures += 1
                    print(failure, flush=True)
            plays = []
            if time.monotonic() - began < soak_seconds:
                plays = [random_play(options.seed + rounds + i) for i in range(options.jobs)]
    print(f"{options.kind}: {rounds} rounds, {failures} violations, {time.monotonic() - began:.0f} s")
    return 1 if failures or not rounds else 0


if __name__ == "__main__":
    sys.exit(main())
