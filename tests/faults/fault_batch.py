# SPDX-License-Identifier: MIT
"""A batch that is to be disturbed: made, driven by `allot run` and `allot resume`, and judged by ledger_checker."""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

PROGRAM_OF_ROLE = {"driver": "allot", "node": "allot-worker-node", "guard": "allot-guard"}
LONG_STEP = 5  # of standard_tasks: runs long enough to be found
CLUSTERS = {
    "multiprocess": """plugin = "multiprocess"
[parameters]
slots = 3
slots_per_worker = 2
pin = "never"
worker_grace = "300ms"
kill_grace = "200ms"
heartbeat_interval = "100ms"
commit_interval = "2ms"
""",
    "sequential": """plugin = "sequential"
[parameters]
kill_grace = "200ms"
""",
}


class Violation(Exception):
    """A rule was broken; the text says which and shows what was found. `story`: what had been done to the batch."""

    story = ""


class Programs:
    """Where the build put what the tests use."""

    def __init__(self, build):
        build = pathlib.Path(build)
        self.allot = build / "bin" / "allot"
        self.checker = build / "tests" / "faults" / "ledger_checker"
        self.task = build / "tests" / "faults" / "effect_task"


def read_bytes(path):
    with contextlib.suppress(OSError):
        return pathlib.Path(path).read_bytes()
    return b""


def parent_of(pid):
    """None if it is gone."""
    for line in read_bytes(f"/proc/{pid}/status").decode().splitlines():
        if line.startswith("PPid:"):
            return int(line.split()[1])
    return None


def wait_until(condition, seconds, what):
    """Polls: what is waited for is another process's doing, of which no descriptor tells."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise Violation(f"hangs: {what} did not happen within {seconds} s")
        time.sleep(0.005)


def kill(*pids):
    """All at once: stopped first, so that none of them witnesses the death of another."""
    for how in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)


class FaultBatch:
    """One batch in a directory of its own, removed at the end. Not thread-safe; each thread has its own batches."""

    def __init__(self, programs, parent=None, plugin="multiprocess"):
        self.programs = programs
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="allot-faults-", dir=parent))
        self.directory = self.root / "batch"
        self.effects = self.root / "effects"
        self.effects.mkdir()
        self.flag = self.root / "fired"
        self.cluster = self.root / "faulty.toml"
        self.cluster.write_text(CLUSTERS[plugin])
        self.tasks_file = self.root / "tasks.jsonl"
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.root / "runtime"), "TMPDIR": str(self.root)}
        (self.root / "runtime").mkdir(mode=0o700)
        self.history = []
        self.made_with = 0  # tasks, if that is known here
        self.leaves_effects = True  # its tasks write down what they did
        self.prefix = []  # of the driver's command line: prlimit and its like

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Violation):
            error.story = self.story()
        for pid in [pid for pids in self.processes().values() for pid in pids]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if kind is None or "ALLOT_FAULTS_KEEP" not in os.environ:
            shutil.rmtree(self.root, ignore_errors=True)

    # ---- tasks

    def effect_command(self, step, exit_code=0, seconds=0.0, *more):
        return [str(self.programs.task), str(self.effects), str(step), str(exit_code), str(seconds), *more]

    def write_tasks(self, tasks):
        self.tasks_file.write_text("".join(json.dumps(task) + "\n" for task in tasks))
        self.made_with = len(tasks)

    def standard_tasks(self, count=20, long_seconds=0.4):
        """Mixed: quick ones, slow ones, two that fail, one that leaves a grandchild behind, one that waits for another."""
        tasks = [{"command": self.effect_command(step)} for step in range(count)]
        tasks[3]["command"] = self.effect_command(3, 3)
        tasks[LONG_STEP]["command"] = self.effect_command(LONG_STEP, 0, long_seconds)
        tasks[8]["command"] = self.effect_command(8, 0, 0, "escape")
        tasks[11]["command"] = self.effect_command(11, 0, 0.1)
        tasks[12] = {"command": " ".join(self.effect_command(12)) + "; exit $?"}
        tasks[14]["command"] = self.effect_command(14, 7)
        tasks[17]["after"] = 11
        self.write_tasks(tasks)

    def adding_task(self, step, children):
        """In its first round it adds children, which have the steps behind it, and waits for them. Without a driver that
        answers it ends as if there was nothing to add."""
        file = self.root / "added.jsonl"
        file.write_text("".join(json.dumps({"command": self.effect_command(step + 1 + i)}) + "\n" for i in range(children)))
        add = f"{self.programs.allot} add --again --once parts --wait 5s {file}"
        return {"command": f'[ "$ALLOT_ROUND" != 0 ] || {add}; ' + " ".join(self.effect_command(step)) + "; exit $?"}

    # ---- driving

    def start(self, verb, fault=None, role=None, sabotage=None):
        """Starts `allot run` or `allot resume`; returns the process."""
        environment = dict(self.environment)
        if fault:
            environment.update(ALLOT_FAULT=fault, ALLOT_FAULT_FLAG=str(self.flag), ALLOT_FAULT_ROLE=PROGRAM_OF_ROLE[role])
        if sabotage:
            environment["ALLOT_SABOTAGE"] = sabotage
        command = [*self.prefix, str(self.programs.allot), verb]
        if verb == "run":
            command += ["-c", str(self.cluster), "--batch-dir", str(self.directory), "--json", str(self.tasks_file)]
        else:
            command += ["--json", str(self.directory)]
        number = len(self.history)
        with open(self.root / f"driver-{number}.out", "wb") as out, open(self.root / f"driver-{number}.err", "wb") as err:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                       start_new_session=True)
        process.number = number
        self.history.append(f"{verb} (pid {process.pid}, fault {fault} {role}, sabotage {sabotage})")
        return process

    def finish(self, process, seconds=60):
        """Waits for its end; returns the exit status as subprocess has it (negative: a signal)."""
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.history.append(f"  killed after {seconds} s")
            raise Violation(f"hangs: {self.history[process.number]} did not end within {seconds} s") from None
        self.history.append(f"  ended with {status}")
        return status

    def result(self, process):
        """What `--json` printed at the end."""
        return json.loads(read_bytes(self.root / f"driver-{process.number}.out") or b"{}")

    def errors(self, process):
        return read_bytes(self.root / f"driver-{process.number}.err").decode(errors="replace")

    def was_made(self):
        return (self.directory / "batch.json").exists() and any((self.directory / "epochs").glob("[0-9]*"))

    def resume_to_the_end(self):
        """Resumes until a driver leaves in order. A driver that was fenced or refused is asked again a few times."""
        for _ in range(4):
            if self.finish(self.start("resume")) in (0, 1):
                return
        raise Violation("no_end: four drivers in a row did not bring the batch to its end")

    # ---- removing

    def plant_links(self):
        """Links that lead out of the batch, each where a file of the batch could be, and a directory. Returns their
        paths in it."""
        outside = self.root / "outside"
        (outside / "deep").mkdir(parents=True)
        for name in ("file", "deep/file"):
            (outside / name).write_text("not the batch's\n")
        links = {"output/node1-77.out": "file", "epochs/.claim-77": "file", "batch.json.tmp.7": "file",
                 "worker.log": "deep/file", "deep": "deep"}
        for name, target in links.items():
            (self.directory / name).unlink(missing_ok=True)
            (self.directory / name).symlink_to(outside / target)
        return set(links)

    def must_have_links_only(self, links):
        """All of the batch is gone, nothing else is, and nothing behind the links was touched."""
        left = {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")
                if path.is_symlink() or not path.is_dir()}
        expected = {link.replace("epochs/", "removing.epochs/") for link in links}
        if left != expected:
            raise Violation(f"removed: beside {sorted(left & expected)} there must be {sorted(expected - left)}, and not "
                            f"{sorted(left - expected)}")
        for name in ("file", "deep/file"):
            if read_bytes(self.root / "outside" / name) != b"not the batch's\n":
                raise Violation(f"removed_too_much: what a link leads to was changed: {name}")

    def remove_to_the_end(self, links):
        """After a removal that was killed: it is a whole batch, or nobody can resume it; the next removal ends it."""
        if self.was_made():
            self.must_be_clean("--strict")
        elif self.finish(self.start("resume")) < 2:
            raise Violation("half_removed: resume took a batch of which something had been removed")
        remover = self.start("remove")
        if self.finish(remover) != 0:
            raise Violation(f"not_removed: {self.errors(remover)}")
        self.must_have_links_only(links)

    # ---- looking

    def count_ended(self):
        """Tasks whose end is recorded."""
        done = subprocess.run([str(self.programs.allot), "status", str(self.directory), "--json"], env=self.environment,
                              capture_output=True, text=True, timeout=60, check=False)
        states = json.loads(done.stdout or "{}").get("states", {})
        return states.get("done", 0) + states.get("failed", 0)

    def effect_lines(self, step):
        return [line.split() for line in read_bytes(self.effects / f"step-{step}").decode().splitlines()]

    def wait_for_start(self, step, driver):
        """Returns the pid of the first run of a step."""
        wait_until(lambda: self.effect_lines(step) or driver.poll() is not None, 30, f"the start of step {step}")
        lines = self.effect_lines(step)
        if not lines:
            raise Violation(f"no_end: the driver ended ({driver.poll()}) before step {step} began")
        return int(lines[0][4])

    def processes(self):
        """The living processes of the batch: {"driver": [pid…], "node": …, "guard": …, "task": …}."""
        found = {"driver": [], "node": [], "guard": [], "task": []}
        roles = {program: role for role, program in PROGRAM_OF_ROLE.items()}
        batch = os.fsencode(self.directory)
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            arguments = read_bytes(f"/proc/{entry}/cmdline").split(b"\0")
            role = roles.get(os.path.basename(arguments[0]).decode(errors="replace"))
            if role and any(argument == batch or argument.endswith(b"=" + batch) for argument in arguments):
                found[role].append(int(entry))
            elif b"ALLOT_BATCH_DIR=" + batch in read_bytes(f"/proc/{entry}/environ").split(b"\0"):
                found["task"].append(int(entry))
        # What a guard has just started is a task's process, though it has not begun its command yet.
        begun = [pid for pid in found["guard"] if parent_of(pid) in found["guard"]]
        found["guard"] = [pid for pid in found["guard"] if pid not in begun]
        found["task"] += begun
        return found

    def guard_of(self, pid):
        """The guard above a task's process."""
        parent = parent_of(pid)
        if parent is None:
            raise Violation(f"no_end: process {pid} is gone")
        return parent

    # ---- judging

    def check(self, *options, wait=10):
        """Returns (exit status, lines) of the checker."""
        command = [str(self.programs.checker), str(self.directory), "--wait", str(wait), "--tasks",
                   str(self.made_with)]
        if self.leaves_effects:
            command += ["--effects", str(self.effects)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, (done.stdout + done.stderr).splitlines()

    def must_be_clean(self, *options):
        status, lines = self.check(*options)
        if status != 0:
            raise Violation("\n".join(lines))

    def must_be_untouched(self):
        """Of a batch that was never whole nothing may have run, and nothing may be left."""
        if any(self.effects.iterdir()):
            raise Violation("unrecorded_start: tasks of a batch that was never made whole have run")
        wait_until(lambda: not any(self.processes().values()), 5, "the end of all processes of a batch never made")

    def story(self):
        """For a failure's message: what was done, and what the programs said."""
        parts = [f"batch {self.directory}", *self.history]
        for path in [*sorted(self.root.glob("driver-*")), self.directory / "worker.log"]:
            text = read_bytes(path).decode(errors="replace").strip()
            if text:
                parts.append(f"--- {path.name}\n{text[-3000:]}")
        return "\n".join(parts)


def main_of(tests, usage, before=None):
    """The program of a file of tests: NAME --build DIR. `before` may run the test elsewhere and return its status."""
    parser = argparse.ArgumentParser(usage=usage)
    parser.add_argument("name", choices=[*tests, "list"])
    parser.add_argument("--build", required=True)
    options = parser.parse_args()
    if options.name == "list":
        print(*tests, sep="\n")
        return 0
    status = before(options.name) if before else None
    if status is not None:
        return status
    try:
        return tests[options.name](Programs(options.build)) or 0
    except Violation as violation:
        print(f"VIOLATION in {options.name}\n{violation}\n{violation.story}")
        return 1
