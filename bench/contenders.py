# SPDX-License-Identifier: MIT
"""Who runs the commands, and how long one of them took."""
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time


class BenchError(Exception):
    """A contender that did not do what it was asked for: its figure would be a lie."""


@dataclasses.dataclass
class Contender:
    name: str
    argv: list[str]
    tasks: int
    input_path: str | None = None  # its standard input; None: /dev/null
    batch: pathlib.Path | None = None  # allot: where the batch lies; removed after the run


@dataclasses.dataclass
class Run:
    wall_seconds: float
    cpu_seconds: float  # user and system, with all children that were waited for

    def rate(self, tasks: int) -> float:
        return tasks / self.wall_seconds


def run(contender: Contender, scratch: pathlib.Path) -> Run:
    """Runs it once, stdout and stderr to files. Raises BenchError unless every task was done."""
    out, err = scratch / "stdout", scratch / "stderr"
    if contender.batch is not None:
        shutil.rmtree(contender.batch, ignore_errors=True)
    with open(contender.input_path or os.devnull, "rb") as stdin, open(out, "wb") as stdout, open(err, "wb") as stderr:
        begin = time.perf_counter()
        process = subprocess.Popen(contender.argv, stdin=stdin, stdout=stdout, stderr=stderr, cwd=scratch)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise BenchError(f"{contender.name}: exit status {process.returncode}\n{err.read_text(errors='replace')[-2000:]}")
    if contender.batch is not None:
        result = json.loads(out.read_text())
        if result["done"] != contender.tasks or result["failed"] != 0:
            raise BenchError(f"{contender.name}: {contender.tasks} tasks, but it says {result}")
        shutil.rmtree(contender.batch)
    return Run(wall, usage.ru_utime + usage.ru_stime)


class Field:
    """Builds the contenders for one kind of task. Programs that are not installed are left out, and said so."""

    def __init__(self, allot: str, bare_loop: str, slots: int, scratch: pathlib.Path):
        self.allot, self.bare_loop, self.slots, self.scratch = allot, bare_loop, slots, scratch
        self.number = 0

    def _file(self, text: str) -> str:
        self.number += 1
        path = self.scratch / f"input-{self.number}"
        path.write_text(text)
        return str(path)

    def _allot(self, name: str, tasks: int, what: list[str]) -> Contender:
        batch = self.scratch / "batch"
        return Contender(name, [self.allot, "run", "--json", "-j", str(self.slots), "--batch-dir", str(batch), *what], tasks,
                         batch=batch)

    def _peers(self, peers: list[Contender]) -> list[Contender]:
        found = []
        for peer in peers:
            if shutil.which(peer.argv[0]):
                found.append(peer)
            else:
                print(f"throughput: {peer.argv[0]} is not installed: no row for it", file=sys.stderr)
        return found

    def _makefile(self, recipe: str, tasks: int) -> str:
        targets = " ".join(f"t{i}" for i in range(tasks))
        return self._file(f".PHONY: all {targets}\nall: {targets}\n{targets}:\n\t@{recipe}\n")

    def command(self, tasks: int, parallel_tasks: int) -> list[Contender]:
        """/bin/true as an argument vector."""
        p = str(self.slots)
        words = self._file("".join(f"{i}\n" for i in range(tasks)))
        few_words = self._file("".join(f"{i}\n" for i in range(parallel_tasks)))
        bare = [self.bare_loop, "-j", p, "-n", str(tasks)]
        return [
            Contender("bare loop, one spawner", [*bare, "--", "/bin/true"], tasks),
            self._allot("allot run --array", tasks, ["--array", str(tasks), "--", "/bin/true"]),
            Contender("bare loop, pinned spawner per core", [*bare, "--pinned", "--", "/bin/true"], tasks),
            *self._peers([
                Contender("xargs -P", ["xargs", "-P", p, "-n", "1", "-a", words, "/bin/true"], tasks),
                Contender("make -j", ["make", "-s", "-j", p, "-f", self._makefile("/bin/true", tasks)], tasks),
                Contender("GNU parallel", ["parallel", "-j", p, "-a", few_words, "/bin/true"], parallel_tasks),
            ]),
        ]

    def shell_line(self, line: str, tasks: int, parallel_tasks: int) -> list[Contender]:
        """A line, one per task; peers pass it to sh -c."""
        p = str(self.slots)
        lines = self._file(f"{line}\n" * tasks)
        few_lines = self._file(f"{line}\n" * parallel_tasks)
        bare = [self.bare_loop, "-j", p, "-n", str(tasks)]
        return [
            Contender("bare loop, one spawner", [*bare, "--sh", line], tasks),
            self._allot("allot run FILE", tasks, [lines]),
            Contender("bare loop, pinned spawner per core", [*bare, "--pinned", "--sh", line], tasks),
            *self._peers([
                Contender("xargs -P", ["xargs", "-P", p, "-d", "\\n", "-n", "1", "-a", lines, "sh", "-c"], tasks),
                Contender("make -j", ["make", "-s", "-j", p, "-f", self._makefile(line, tasks)], tasks),
                Contender("GNU parallel", ["parallel", "-j", p], parallel_tasks, input_path=few_lines),
            ]),
        ]
