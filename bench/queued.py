# SPDX-License-Identifier: MIT
"""Many queued tasks behind a few that block: memory, time to submit, and what waiting costs."""
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from contenders import BenchError

TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Member:
    """One process of allot."""

    pid: int
    name: str
    peak_bytes: int  # VmHWM
    cpu_seconds: float


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def family(pid: int) -> list[Member]:
    """The driver and those below it that are allot's own; the tasks are not."""
    members, todo = [], [pid]
    while todo:
        current = todo.pop()
        try:
            stat = pathlib.Path(f"/proc/{current}/stat").read_text()
            status = pathlib.Path(f"/proc/{current}/status").read_text()
            below = _children(current)
        except OSError:
            continue  # it has just ended
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        if not name.startswith("allot"):
            continue
        fields = stat[stat.rindex(")") + 2 :].split()
        peak = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
        members.append(Member(current, name, peak, (int(fields[11]) + int(fields[12])) / TICKS))
        todo += below
    return members


class BlockedBatch:
    """`allot run` on `tasks` lines of which the first `slots` wait at a FIFO; the others never come to run."""

    def __init__(self, allot: str, slots: int, tasks: int, scratch: pathlib.Path):
        self.allot, self.slots, self.tasks = allot, slots, tasks
        self.batch, self.fifo, self.lines = scratch / "queued-batch", scratch / "fifo", scratch / "queued-lines"
        self.log = scratch / "queued-log"
        shutil.rmtree(self.batch, ignore_errors=True)
        self.fifo.unlink(missing_ok=True)
        os.mkfifo(self.fifo)
        with open(self.lines, "w") as file:
            file.writelines([f"/bin/cat {self.fifo}\n"] * slots)
            file.writelines(f"/bin/true {i}\n" for i in range(tasks - slots))
        self.text_bytes = self.lines.stat().st_size - tasks  # without the newlines
        self.process: subprocess.Popen | None = None
        self.started = 0.0

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.started = time.time()
            self.process = subprocess.Popen(
                [self.allot, "run", "-j", str(self.slots), "--batch-dir", str(self.batch), str(self.lines)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def counts(self) -> dict:
        """States of the tasks as `allot status` gives them; empty before there is a batch to ask for."""
        asked = subprocess.run([self.allot, "status", str(self.batch), "--json"], capture_output=True, text=True, check=False)
        return json.loads(asked.stdout).get("states", {}) if asked.returncode == 0 and asked.stdout else {}

    def wait_until_queued(self, timeout_seconds: float) -> float:
        """Seconds that the submission took: until the driver's last record, which is not written to while all wait."""
        deadline = time.monotonic() + timeout_seconds
        index = self.batch / "tasks.index"
        while True:
            if self.process.poll() is not None:
                raise BenchError(f"allot run ended early:\n{self.log.read_text(errors='replace')[-2000:]}")
            if time.monotonic() > deadline:
                raise BenchError(f"after {timeout_seconds} s not all of {self.tasks} tasks are queued: {self.counts()}")
            # The table's size is cheap to look at; only when it is complete is it worth while to ask.
            if index.exists() and index.stat().st_size >= 8 * self.tasks:
                counts = self.counts()
                if counts.get("running") == self.slots and counts.get("queued") == self.tasks - self.slots:
                    break
            time.sleep(0.05)
        records = [path for path in (self.batch / "records").iterdir() if path.name.startswith("driver")]
        return max(path.stat().st_mtime for path in records) - self.started

    def members(self) -> list[Member]:
        return family(self.process.pid)

    def __exit__(self, *exception):
        if self.process.poll() is None:
            # Not SIGINT: it is ignored in what a shell has started in the background.
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(30)
        shutil.rmtree(self.batch, ignore_errors=True)
        return False


def measure_memory(allot: str, slots: int, tasks: int, scratch: pathlib.Path) -> dict:
    """Peak memory of all processes with `tasks` queued, and how fast they were submitted."""
    with BlockedBatch(allot, slots, tasks, scratch) as batch:
        seconds = batch.wait_until_queued(120)
        members = batch.members()
        peak = sum(member.peak_bytes for member in members)
        return {
            "tasks": tasks,
            "submit_seconds": seconds,
            "submitted_per_second": tasks / seconds,
            "peak_bytes": peak,
            "peak_bytes_per_task": peak / tasks,
            "text_bytes_per_task": batch.text_bytes / tasks,
            "processes": [{"name": member.name, "peak_bytes": member.peak_bytes} for member in members],
        }


def measure_idle(allot: str, slots: int, tasks: int, seconds: float, scratch: pathlib.Path) -> dict:
    """CPU time of all processes while `tasks` wait behind tasks that do nothing, as a share of one core."""
    with BlockedBatch(allot, slots, tasks, scratch) as batch:
        batch.wait_until_queued(60)
        time.sleep(min(1.0, seconds))  # what the start left to do is no idling
        before, begin = batch.members(), time.monotonic()
        time.sleep(seconds)
        after, elapsed = batch.members(), time.monotonic() - begin
        if {member.pid for member in before} != {member.pid for member in after}:
            raise BenchError("the processes of allot changed while they should have been idle")
        cpu = sum(member.cpu_seconds for member in after) - sum(member.cpu_seconds for member in before)
        return {"tasks": tasks, "seconds": elapsed, "cpu_seconds": cpu, "core_share": cpu / elapsed}
