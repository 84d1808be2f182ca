#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes away what allot needs (disk, descriptors, processes) and runs tasks that misbehave. Each test is a real one.

usage: resource_faults.py NAME --build DIR      NAME: one of the tests below, or "list"
Exit status 0: it holds; 1: it does not (the text says what was found); 77: this machine does not let it be tried.
"""
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from fault_batch import FaultBatch, Violation, kill, main_of, read_bytes, wait_until

SKIPPED = 77
OTHER_UID = 200_000 + os.getpid() % 100_000  # of nobody: its process count starts at 0


def demand(condition, text):
    if not condition:
        raise Violation(text)


def tasks_of(batch):
    done = subprocess.run([str(batch.programs.allot), "status", str(batch.directory), "--tasks", "--json"],
                          env=batch.environment, capture_output=True, text=True, timeout=60, check=False)
    demand(done.returncode == 0, f"allot status: {done.stderr}")
    return {task["step"]: task for task in map(json.loads, done.stdout.splitlines())}


def output_of(batch, step):
    done = subprocess.run([str(batch.programs.allot), "output", str(batch.directory), str(step)],
                          env=batch.environment, capture_output=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def run_lines(programs, tasks, seconds=30):
    """Runs tasks to the end, checks, and returns (batch, tasks by step, wall seconds). The batch is the caller's."""
    batch = FaultBatch(programs)
    try:
        batch.write_tasks(tasks)
        batch.leaves_effects = False
        began = time.monotonic()
        batch.finish(batch.start("run"), seconds)
        wall = time.monotonic() - began
        batch.must_be_clean()
        return batch, tasks_of(batch), wall
    except BaseException as error:
        batch.__exit__(type(error), error, None)
        raise


def demand_class(tasks, step, exit_class):
    found = tasks[step]
    demand(found["exit_class"] == exit_class, f"step {step} is {found['exit_class']}, not {exit_class}: {found['evidence']}")


# ---- tasks that misbehave


def stopped_task(programs):
    """A task that stops itself is ended by its limit all the same."""
    batch, tasks, wall = run_lines(programs, [{"command": "kill -STOP $$", "timeout": "300ms"},
                                              {"command": "trap '' TERM; kill -STOP $$; sleep 60", "timeout": "300ms"}])
    with batch:
        demand_class(tasks, 0, "timed_out")
        demand_class(tasks, 1, "timed_out")
        demand(wall < 15, f"took {wall:.1f} s")


def closed_stdout(programs):
    """Closing stdout and stderr is no end: the task goes on, and its status counts."""
    batch, tasks, _ = run_lines(programs, [{"command": "exec 1>&- 2>&-; sleep 0.3; exit 4"}])
    with batch:
        demand_class(tasks, 0, "error")
        demand(tasks[0]["exit_code"] == 4 and tasks[0]["wall_seconds"] >= 0.3, f"ended early: {tasks[0]}")


def daemon(programs):
    """A daemon (two forks, a session of its own) is ended with its task; the task is done."""
    with FaultBatch(programs) as batch:
        batch.write_tasks([{"command": batch.effect_command(0, 0, 0, "escape")}])
        status = batch.finish(batch.start("run"), 30)
        demand(status == 0, f"exit status {status}")
        batch.must_be_clean("--strict")


def held_pipe(programs):
    """A child that keeps the task's output open does not keep the task from ending."""
    batch, tasks, wall = run_lines(programs, [{"command": "echo before; sleep 60 & echo after"}])
    with batch:
        demand_class(tasks, 0, "done")
        demand(wall < 15, f"took {wall:.1f} s")
        demand(output_of(batch, 0)[1] == b"before\nafter\n", f"output is {output_of(batch, 0)}")


def refused_poll(programs):
    """A task takes its guard's descriptors away, so that poll(2) is refused there: its limit holds all the same."""
    batch, tasks, wall = run_lines(programs, [{"command": "prlimit --pid $PPID --nofile=4:4 && exec sleep 60",
                                               "timeout": "300ms"}])
    with batch:
        demand_class(tasks, 0, "timed_out")
        demand(wall < 15, f"took {wall:.1f} s")


def unkillable(programs):
    """What cannot be ended is recorded so, and its guard leaves: the next task has nothing of it below its own."""
    group = pathlib.Path(f"/sys/fs/cgroup/freezer/allot-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError as error:
        print(f"no process can be frozen here: {error}")
        return SKIPPED
    try:
        with FaultBatch(programs) as batch:
            batch.leaves_effects = False
            guard, after = batch.root / "guard", batch.root / "after"
            batch.write_tasks([{"command": f"echo $PPID >{guard}; sleep 1000 & echo $! >{group}/cgroup.procs; "
                                           f"echo FROZEN >{group}/freezer.state"},
                               {"command": f"echo ran >{after}", "after": 0}])
            driver = batch.start("run")
            wait_until(lambda: after.exists() or driver.poll() is not None, 60, "the task behind it")
            pid = int(guard.read_text())
            wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 10, "the end of the guard that could not end it")
            (group / "freezer.state").write_text("THAWED")
            demand(batch.finish(driver, 30) == 0, "the run failed")
            tasks = tasks_of(batch)
            demand("cannot be ended" in tasks[0]["text"], f"it says {tasks[0]}")
            demand_class(tasks, 1, "done")
    finally:
        (group / "freezer.state").write_text("THAWED")
        wait_until(lambda: not (group / "cgroup.procs").read_text(), 10, "the end of what was frozen")
        group.rmdir()
    return 0


def unmarked(programs):
    """All of allot is killed at once, and a process of the task has left its session, parent and environment behind:
    resuming ends it before the task runs again."""
    with FaultBatch(programs) as batch:
        batch.leaves_effects = False
        note = batch.root / "pid"
        batch.write_tasks([{"command": f"[ -e {note} ] && exit 0; env -i setsid sleep 1000 & "
                                       f"echo $! >{note}.new; mv {note}.new {note}; wait"}])
        driver = batch.start("run")
        wait_until(lambda: note.exists() or driver.poll() is not None, 30, "the start of the task")
        pid = int(note.read_text())
        groups = read_bytes(f"/proc/{pid}/cgroup").decode()
        stray = os.pidfd_open(pid)
        try:
            wait_until(lambda: read_bytes(f"/proc/{pid}/environ") == b"", 10, "the emptying of its environment")
            found = batch.processes()
            # Guards first: the death of its worker node leaves a stopped guard in an orphaned group, which the kernel
            # continues, and then it may yet end its tree.
            kill(*found["guard"], *found["node"], *found["driver"])
            batch.finish(driver)
            if "/allot-" not in groups:
                print("no control group can be made here")
                signal.pidfd_send_signal(stray, signal.SIGKILL)
                return SKIPPED
            demand(not select.select([stray], [], [], 0)[0], "the stray died by itself: this test shows nothing")
            batch.resume_to_the_end()
            demand(select.select([stray], [], [], 0)[0], "the stray lives after a resume")
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(stray, signal.SIGKILL)
            os.close(stray)
        demand_class(tasks_of(batch), 0, "done")
        batch.must_be_clean()
        demand(not os.path.exists(group_directory(groups)), "its control group is left")
    return 0


def group_directory(lines):
    """Where the group of a /proc/PID/cgroup lies, as process/control_group.cpp finds it."""
    path = next(line[3:] for line in lines.splitlines() if line.startswith("0::"))
    mount = "/sys/fs/cgroup" if os.path.exists("/sys/fs/cgroup/cgroup.procs") else "/sys/fs/cgroup/unified"
    return mount + path


def big_output(programs):
    """1 GB of output: every byte is kept, and no process of allot grows by it."""
    size = 1 << 30
    parent = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 3 * size else None
    with FaultBatch(programs, parent) as batch:
        batch.leaves_effects = False
        batch.write_tasks([{"command": f"head -c {size} /dev/zero"}])
        driver = batch.start("run")
        peaks, sanitized = {}, False
        while driver.poll() is None:
            sanitized = sanitized or b"libasan" in read_bytes(f"/proc/{driver.pid}/maps")
            for role, pids in batch.processes().items():
                for pid in pids if role != "task" else []:
                    for line in read_bytes(f"/proc/{pid}/status").decode(errors="replace").splitlines():
                        if line.startswith("VmHWM:"):
                            peaks[role] = max(peaks.get(role, 0), int(line.split()[1]) * 1024)
            time.sleep(0.02)  # the rate of the samples
        demand(batch.finish(driver, 300) == 0, "the run failed")
        demand(set(peaks) == {"driver", "node", "guard"}, f"samples of {sorted(peaks)} only")
        print({role: f"{peak >> 20} MiB" for role, peak in peaks.items()})
        for role, peak in peaks.items():
            demand(peak < (512 << 20 if sanitized else 64 << 20), f"{role} grew to {peak >> 20} MiB")
        shown = subprocess.Popen([str(programs.allot), "output", str(batch.directory), "0"], env=batch.environment,
                                 stdout=subprocess.PIPE)
        count = 0
        while block := shown.stdout.read(1 << 20):
            demand(block.count(0) == len(block), f"other bytes after {count}")
            count += len(block)
        demand(shown.wait() == 0 and count == size, f"{count} bytes of {size}")
        batch.must_be_clean()


# ---- what is taken away


@contextlib.contextmanager
def small_disk(size):
    """A tmpfs of its own, gone at the end: this process is in a mount namespace (see main)."""
    point = tempfile.mkdtemp(prefix="allot-faults-disk-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", point], check=True)
    try:
        yield pathlib.Path(point)
    finally:
        subprocess.run(["umount", "-l", point], check=True)
        os.rmdir(point)


def fill(path):
    """Writes until the disk is full; returns the file."""
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


@contextlib.contextmanager
def batch_on_disk(programs, disk):
    with FaultBatch(programs) as batch:
        batch.directory = disk / "batch"
        yield batch


def said_or_ended(batch, driver, words):
    return driver.poll() is not None or any(word in batch.errors(driver) for word in words)


SPACE_WORDS = ("space", "ENOSPC", "no room")


def printing_tasks(batch, count):
    return [{"command": " ".join(batch.effect_command(step, 0, 0.02)) + f" && head -c 100000 /dev/zero"}
            for step in range(count)]


def demand_honest_outputs(batch, count):
    """Every output is whole, or `allot output` says that it is not."""
    for step in range(count):
        status, out, error = output_of(batch, step)
        whole = out == f"step {step}\n".encode() + bytes(100000)
        demand(whole == (status == 0), f"output of step {step}: {len(out)} bytes, status {status}: {error}")


def disk_full_for_a_while(programs):
    """A full disk is told; nothing new starts until there is room again, then the run goes on to its end."""
    with small_disk("3M") as disk, batch_on_disk(programs, disk) as batch:
        batch.write_tasks(printing_tasks(batch, 60))
        driver = batch.start("run")
        wait_until(lambda: said_or_ended(batch, driver, SPACE_WORDS), 60, "a word about the full disk")
        demand(driver.poll() is None, f"the driver left at once: {batch.errors(driver)}")
        batch.must_be_clean("--running")
        begun = len(list(batch.effects.iterdir()))
        demand(begun < 55, f"{begun} of 60 tasks were started on a full disk")
        subprocess.run(["mount", "-o", "remount,size=64M", str(disk)], check=True)
        batch.finish(driver, 90)
        batch.must_be_clean("--strict")
        demand_honest_outputs(batch, 60)


def disk_full_for_good(programs):
    """If no room comes, the driver leaves with the reason; resume finishes the rest once there is some."""
    with small_disk("3M") as disk, batch_on_disk(programs, disk) as batch:
        batch.write_tasks(printing_tasks(batch, 60))
        driver = batch.start("run")
        status = batch.finish(driver, 120)
        demand(status != 0, f"success, on a full disk: {batch.errors(driver)}")
        demand(any(word in batch.errors(driver) for word in SPACE_WORDS), f"no reason given: {batch.errors(driver)}")
        batch.must_be_clean("--running")
        subprocess.run(["mount", "-o", "remount,size=64M", str(disk)], check=True)
        batch.resume_to_the_end()
        batch.must_be_clean("--strict")
        demand_honest_outputs(batch, 60)


def ledger_full(programs):
    """Records fill the disk (long error texts): what runs can still record its end, what has not begun waits."""
    with small_disk("3M") as disk, batch_on_disk(programs, disk) as batch:
        noise = "head -c 30000 /dev/zero | tr '\\0' x >&2; exit 1"
        batch.write_tasks([{"command": " ".join(batch.effect_command(step, 1)) + "; " + noise, "stdout": "/dev/null"}
                           for step in range(200)])
        driver = batch.start("run")
        wait_until(lambda: said_or_ended(batch, driver, SPACE_WORDS), 60, "a word about the full disk")
        batch.must_be_clean("--running")
        subprocess.run(["mount", "-o", "remount,size=64M", str(disk)], check=True)
        if batch.finish(driver, 120) not in (0, 1) or driver.poll() == 1:
            batch.resume_to_the_end()
        batch.must_be_clean("--strict")


def disk_full_at_once(programs):
    """No room for the batch itself: refused in words, nothing runs, nothing is left."""
    with small_disk("64k") as disk, batch_on_disk(programs, disk) as batch:
        fill(disk / "ballast")
        batch.write_tasks(printing_tasks(batch, 5))
        driver = batch.start("run")
        status = batch.finish(driver, 60)
        demand(status >= 2, f"exit status {status}")
        demand(any(word in batch.errors(driver) for word in SPACE_WORDS), f"no reason given: {batch.errors(driver)}")
        batch.must_be_untouched()
        demand(not batch.directory.exists(), "a part of the batch was left")


def read_only(programs):
    """Directories that cannot be written, for the batch and for a task's own output, are named with the reason."""
    with small_disk("1M") as disk, batch_on_disk(programs, disk) as batch:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        batch.write_tasks([{"command": batch.effect_command(0)}])
        driver = batch.start("run")
        demand(batch.finish(driver) >= 2, "a batch on a read-only disk")
        demand("Read-only" in batch.errors(driver) and str(disk) in batch.errors(driver), batch.errors(driver))
        batch.must_be_untouched()
        batch.directory = batch.root / "batch"
        batch.write_tasks([{"command": "true", "stdout": str(disk / "out")}, {"command": "true", "stderr": "/nowhere/err"}])
        batch.leaves_effects = False
        run = batch.start("run")
        demand(batch.finish(run) == 1, "tasks whose output cannot be written are not done")
        tasks = tasks_of(batch)
        for step, path in ((0, str(disk / "out")), (1, "/nowhere/err")):
            demand_class(tasks, step, "launch_failed")
            demand(path in batch.errors(run), f"the path is not named: {batch.errors(run)}")
        batch.must_be_clean()


def few_descriptors(programs):
    """With any small number of descriptors: an end in words and in time, and nothing that resume cannot finish."""
    ended_badly = 0
    for limit in [4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 64]:
        with FaultBatch(programs) as batch:
            batch.standard_tasks(18, long_seconds=0.05)
            batch.prefix = ["prlimit", f"--nofile={limit}", "--"]
            driver = batch.start("run")
            status = batch.finish(driver, 200)
            print(f"{limit} descriptors: exit status {status}: {batch.errors(driver).strip()[-160:]!r}")
            demand(status >= 0, f"a crash with {limit} descriptors: {status}: {batch.errors(driver)}")
            demand(status == 0 or batch.errors(driver), f"no word with {limit} descriptors")
            ended_badly += status not in (0, 1)
            batch.prefix = []
            if batch.was_made():
                batch.resume_to_the_end()
                batch.must_be_clean()
            else:
                batch.must_be_untouched()
    demand(ended_badly > 0, "no limit was small enough to show anything")


# Another user's, so that they are counted from 0; reading stays allowed: the build may lie where others cannot look.
AS_OTHER = ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups",
            "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]


def give_to_other(batch):
    for path in [batch.root, *batch.root.rglob("*")]:
        os.chown(path, OTHER_UID, OTHER_UID)


def may_become_other():
    if os.geteuid() == 0:
        return True
    print("needs root, to become a user whose processes are counted from 0")
    return False


def few_processes(programs):
    """With any small number of processes: an end in words and in time, and nothing that resume cannot finish."""
    if not may_become_other():
        return SKIPPED
    ended_badly = 0
    for limit in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 20]:
        with FaultBatch(programs) as batch:
            batch.write_tasks([{"command": batch.effect_command(step, 0, 0.05)} for step in range(6)])
            give_to_other(batch)
            batch.prefix = [*AS_OTHER, "prlimit", f"--nproc={limit}", "--"]
            driver = batch.start("run")
            status = batch.finish(driver, 60)
            print(f"{limit} processes: exit status {status}: {batch.errors(driver).strip()[:200]!r}")
            demand(status >= 0, f"a crash with {limit} processes: {status}: {batch.errors(driver)}")
            demand("terminate called" not in read_bytes(batch.directory / "worker.log").decode(errors="replace"),
                   f"a worker node crashed with {limit} processes")
            demand(status == 0 or batch.errors(driver), f"no word with {limit} processes")
            ended_badly += status != 0
            batch.prefix = AS_OTHER
            if batch.was_made():
                batch.resume_to_the_end()
                batch.must_be_clean()
            else:
                batch.must_be_untouched()
    demand(ended_badly > 0, "no limit was small enough to show anything")
    return 0


def no_process_for_tasks(programs):
    """While a task has taken all processes, the others are launch_failed with EAGAIN, and what it took is ended."""
    if not may_become_other():
        return SKIPPED
    with FaultBatch(programs) as batch:
        # The hog comes when all slots have shown that they work.
        tasks = [{"command": batch.effect_command(step, 0, 0.3)} for step in range(10)]
        tasks[3] = {"command": batch.effect_command(3, 0, 8, "hog"), "after": [0, 1, 2]}
        for task in tasks[4:]:
            task["after"] = [0, 1, 2]
        batch.write_tasks(tasks)
        give_to_other(batch)
        batch.prefix = [*AS_OTHER, "prlimit", "--nproc=60", "--"]
        driver = batch.start("run")
        demand(batch.finish(driver, 90) == 1, f"the hog went unnoticed: {batch.errors(driver)}")
        tasks = tasks_of(batch)
        demand_class(tasks, 3, "done")
        refused = [step for step, task in tasks.items() if task["exit_class"] == "launch_failed"]
        demand(refused, f"no task was refused: {batch.errors(driver)}")
        demand("EAGAIN" in batch.errors(driver), f"the reason is not given: {batch.errors(driver)}")
        batch.must_be_clean()
    return 0


TESTS = {test.__name__: test for test in (
    stopped_task, closed_stdout, daemon, held_pipe, refused_poll, unkillable, unmarked, big_output, disk_full_for_a_while,
    disk_full_for_good, ledger_full, disk_full_at_once, read_only, few_descriptors, few_processes, no_process_for_tasks)}
NEEDS_MOUNT = {"disk_full_for_a_while", "disk_full_for_good", "ledger_full", "disk_full_at_once", "read_only"}


def in_mount_namespace():
    """Runs this program again where it may mount; nothing that it mounts is seen from outside."""
    flags = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    probe = subprocess.run(["unshare", *flags, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        print(f"no mount namespace here: {probe.stderr.strip()}")
        return SKIPPED
    environment = {**os.environ, "ALLOT_FAULTS_MOUNT": "1"}
    return subprocess.run(["unshare", *flags, sys.executable, *sys.argv], env=environment, check=False).returncode


def elsewhere(name):
    """The exit status of a test that has to run in a mount namespace of its own; None: it can run here."""
    return in_mount_namespace() if name in NEEDS_MOUNT and "ALLOT_FAULTS_MOUNT" not in os.environ else None


if __name__ == "__main__":
    sys.exit(main_of(TESTS, __doc__, elsewhere))
