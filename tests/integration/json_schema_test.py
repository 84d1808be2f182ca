#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every object that allot prints with --json has the schema that docs/json.md names, and that page has every key of
every schema. JSON lines are taken or refused as their schema says.

usage: json_schema_test.py SOURCE_DIR ALLOT

A verb that learns --json needs three things: a section in docs/json.md with a line "Schema: [X.json](schema/X.json).",
that file, and a row in SCHEMAS.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import jsonschema

from json_task_lines import BEYOND_THE_SCHEMA, REFUSED, TAKEN

# What is printed with --json by `allot WORDS`; of several that fit the longest counts.
SCHEMAS = {
    "run": "summary",
    "run --dry-run": "dry_run",
    "resume": "summary",
    "status": "status",
    "status --tasks": "status_task",
    "status --why": "status_why",
    "list": "list",
    "wait": "wait",
    "remove": "remove",
    "output": "output",
    "clusters": "clusters",
    "cancel": "cancel",
    "explain": "explain",
    "retry": "summary",
}
INPUT_SCHEMA = "task_line"
# Verbs whose --json has no schema yet. Empty this; add nothing.
COMING = set()
CLASSES = {"done", "error", "signaled", "out_of_memory", "timed_out", "killed", "launch_failed", "queueing_error", "lost"}

TASKS = r"""
{"name": "good", "command": "echo out; echo err >&2"}
{"name": "näme", "command": ["sh", "-c", "exit 3"]}
{"command": "kill -9 $$"}
{"command": "sleep 100", "timeout": "200ms"}
{"command": ["/nowhere/at all"]}
{"command": "true", "resources": {"cores": 4000}}
{"command": "true", "after": {"task": "näme", "when": "ok"}}
{"command": "test $ALLOT_ATTEMPT = 2", "retry": {"error": 2}}
{"command": "sleep 0 & printf '\\377\\000x'; exit 0"}
{"command": "x=$(head -c 300000000 /dev/zero | tr '\\000' y); sleep 100", "resources": {"memory": "40M"}}
{"command": "sleep 100 & exit 0"}
""".lstrip()


class Test:
    def __init__(self, source, allot, folder):
        self.source, self.allot, self.folder = source, allot, folder
        self.schemas = {path.stem: json.loads(path.read_text(encoding="utf-8"))
                        for path in sorted((source / "docs/schema").glob("*.json"))}
        self.faults, self.seen, self.classes, self.checked = 0, set(), set(), 0
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"),
                            "XDG_CONFIG_HOME": str(folder / "config"), "LC_ALL": "C"}
        for name in ("ALLOT_CLUSTER_PATH", "ALLOT_PLUGIN_PATH", "ALLOT_LOG"):
            self.environment.pop(name, None)

    def fault(self, text):
        self.faults += 1
        print("FAULT: " + text)

    def start(self, *words, **options):
        return subprocess.Popen([self.allot, *words], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)

    def run(self, *words, status=(0,), stdin=b""):
        """allot WORDS --json; everything it prints is checked, and given back."""
        with self.start(words[0], "--json", *words[1:], stdin=subprocess.PIPE) as process:
            out, err = process.communicate(stdin, timeout=120)
        if process.returncode not in status:
            self.fault(f"allot {words}: exit status {process.returncode}: {err.decode(errors='replace')}")
        return self.check(words, out)

    def check(self, words, out):
        known = [row for row in SCHEMAS if set(row.split()) <= set(map(os.fsdecode, words))]
        name = SCHEMAS[max(known, key=len)]
        validator = jsonschema.Draft202012Validator(self.schemas[name])
        objects = [json.loads(line) for line in out.decode("utf-8").splitlines()]
        if not objects:
            self.fault(f"allot {words}: printed nothing")
        for one in objects:
            self.checked += 1
            for error in validator.iter_errors(one):
                where = "/".join(map(str, error.absolute_path))
                self.fault(f"allot {words}: {name}: {where}: {error.message}")
        self.seen.add(name)
        if name == "status_task":
            self.classes |= {one["exit_class"] for one in objects}
        return objects

    def look_at(self, batch):
        """Every verb that only looks."""
        self.run("status", batch)
        tasks = self.run("status", "--tasks", batch)
        for step in range(min(3, len(tasks))):
            self.run("status", "--why", str(step), batch)
        self.run("wait", "--timeout", "0", batch, status=(0, 1, 124))
        self.run("remove", "--dry-run", batch, status=(0, 1))
        self.run("output", batch, status=(0, 1))
        self.run("output", "--stderr", batch, status=(0, 1))
        return tasks

    def fifo(self, name):
        path = self.folder / name
        os.mkfifo(path)
        return path


def ancestor(pid, name):
    """The nearest process above `pid` of that name."""
    while pid > 1:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        if re.search(r"^Name:\s*" + name, status, re.M):
            return pid
        pid = int(re.search(r"^PPid:\s*(\d+)", status, re.M)[1])
    raise RuntimeError(f"no {name} above")


def check_batches(test):
    (test.folder / "tasks.jsonl").write_text(TASKS, encoding="utf-8")
    test.run("run", "--batch-dir", "classes", "--name", "näme", "tasks.jsonl", status=(1,))
    tasks = test.look_at("./classes")
    if tasks[7]["attempt"] != 2 or tasks[6]["state"] != "abandoned" or tasks[10]["leftover_processes"] == 0:
        test.fault(f"the batch is not what it was to be: {tasks}")
    test.run("run", "--dry-run", "tasks.jsonl", status=(1,))
    test.run("run", "--dry-run", "--tasks", "tasks.jsonl", status=(1,))
    test.run("run", "--dry-run", "--", "echo", b"\xff")
    test.run("run", "--dry-run", "--begin", "1h", "--", "true")
    test.run("run", "--dry-run", "--allow-empty", "-")
    test.run("run", "--allow-empty", "-")
    test.run("resume", "./classes", status=(1,))
    test.run("retry", "--class", "launch_failed", "./classes", status=(1,))
    test.run("cancel", "./classes")
    for step in ("6", "7", "8"):
        test.run("status", "--why", step, "./classes")
    test.run("run", "--", "true")
    test.run("list")

    strange = b"b\xff"
    test.run("run", "--batch-dir", strange, "--lines", "-", stdin=b"echo a\xffb; echo \xfe\n# no task\n\ntrue\n")
    test.look_at(b"./" + strange)


def check_running(test):
    """While it runs, after its driver was killed, and to its end."""
    gate = test.fifo("gate")
    with test.start("run", "-q", "--batch-dir", "cut", "-j", "1", "--lines", "-", stdin=subprocess.PIPE) as process:
        process.stdin.write(f"echo x >{gate}; sleep 100\ntrue\n".encode())
        process.stdin.close()
        gate.read_text(encoding="utf-8")
        test.look_at("./cut")
        test.run("explain", "./cut")
        test.run("cancel", "--steps", "1", "./cut")
        process.kill()
        process.wait()
    test.look_at("./cut")
    with test.start("resume", "--json", "./cut", stdin=subprocess.DEVNULL) as process:
        for line in process.stderr:
            if b"resumed:" in line:
                break
        process.send_signal(signal.SIGINT)  # what still ran has been adopted
        out = process.communicate(timeout=60)[0]
    test.check(("resume",), out)
    test.look_at("./cut")


def check_cancelled_and_lost(test):
    gate, pids = test.fifo("gate2"), test.fifo("pids")
    with test.start("run", "--json", "--batch-dir", "cancelled", "-j", "1", "--lines", "-", stdin=subprocess.PIPE) as run:
        run.stdin.write(f"echo x >{gate}; sleep 100\ntrue\n".encode())
        run.stdin.close()
        gate.read_text(encoding="utf-8")
        run.send_signal(signal.SIGINT)
        out = run.stdout.read()
        run.stderr.read()
    test.check(("run",), out)
    test.look_at("./cancelled")

    with test.start("run", "--json", "--batch-dir", "lost", "--retry", "lost=0", "--", "sh", "-c",
                    f"echo $$ >{pids}; sleep 100") as run:
        os.kill(ancestor(int(pids.read_text(encoding="utf-8")), "allot-guard"), signal.SIGKILL)
        out = run.communicate(timeout=60)[0]
    test.check(("run",), out)
    test.look_at("./lost")


def check_damaged(test):
    copy = test.folder / "damaged"
    shutil.copytree(test.folder / "classes", copy)
    data = bytearray((copy / "tasks.data").read_bytes())
    data[data.index(b"echo out")] ^= 1
    (copy / "tasks.data").write_bytes(data)
    shutil.rmtree(copy / "output")
    test.run("status", "./damaged")
    test.run("status", "--tasks", "./damaged", status=(3,))
    test.run("output", "./damaged", status=(1,))
    undriven = test.folder / "undriven"
    shutil.copytree(test.folder / "classes", undriven)
    for folder in ("epochs", "records"):
        for path in (undriven / folder).iterdir():
            path.unlink()
    test.look_at("./undriven")
    test.run("remove", "./damaged", "./none", status=(1,))
    home = test.folder / "state/allot/batches/000000000000"
    home.mkdir(parents=True)
    (home / "batch.json").write_text("{", encoding="utf-8")
    test.run("list", "--all")


def check_clusters(test):
    folder = test.folder / "config/allot/clusters"
    folder.mkdir(parents=True)
    (folder / "away.toml").write_text('plugin = "no_such_plugin"\n', encoding="utf-8")
    (folder / "typo.toml").write_text('plugin = "multiprocess"\n[parameters]\nslosts = 3\n', encoding="utf-8")
    (folder / "none.toml").write_text("", encoding="utf-8")
    (folder / "few.toml").write_text('plugin = "multiprocess"\nmax_running = 2\n', encoding="utf-8")
    test.run("clusters")
    test.run("run", "--dry-run", "-c", "few", "--array", "100", "--", "true")


def check_task_lines(test):
    validator = jsonschema.Draft202012Validator(test.schemas[INPUT_SCHEMA])

    def is_taken(line):
        command = [test.allot, "run", "--dry-run", "-q", "--jsonl", "-"]
        done = subprocess.run(command, input=line.encode() + b"\n", env=test.environment, cwd=test.folder, timeout=60,
                              capture_output=True, check=False)
        if done.returncode not in (0, 1, 2):  # 1: read, but no queue takes it
            test.fault(f"{line}: exit status {done.returncode}")
        return done.returncode != 2

    for lines, is_good in ((TAKEN, True), (REFUSED, False)):
        for line in lines:
            errors = [error.message for error in validator.iter_errors(json.loads(line))]
            if is_taken(line) != is_good:
                test.fault(f"allot {'refuses' if is_good else 'takes'} {line}")
            if (not errors) != is_good:
                test.fault(f"the schema {'refuses' if is_good else 'takes'} {line}: {errors}")
    for line in BEYOND_THE_SCHEMA:
        if is_taken(line) or not validator.is_valid(json.loads(line)):
            test.fault(f"is to be refused by allot alone: {line}")
    print(f"{len(TAKEN) + len(REFUSED) + len(BEYOND_THE_SCHEMA)} task lines")


def check_verbs(test):
    """Every verb with --json has a row."""
    def help_of(*words):
        return subprocess.run([test.allot, *words, "--help"], env=test.environment, capture_output=True, text=True,
                              check=True).stdout
    verbs = re.findall(r"^  (\w+)  ", help_of(), re.M)
    for verb in verbs:
        if re.search(r"--json\b", help_of(verb)) and verb not in {row.split()[0] for row in SCHEMAS} | COMING:
            test.fault(f"allot {verb} --json has no row in SCHEMAS")
    if "run" not in verbs:
        test.fault("allot --help lists no verbs")


def keys_of(schema, root, prefix=""):
    """The paths of all keys that it names: "driver.host", "clusters[].name"."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    keys = set()
    for key, value in schema.get("properties", {}).items():
        path = f"{prefix}.{key}" if prefix else key
        keys |= {path} | keys_of(value, root, path)
    if "items" in schema:
        keys |= keys_of(schema["items"], root, prefix + "[]")
    for one in schema.get("anyOf", []):
        # An object or a list of such: its keys are told once, as of the list.
        nested = keys_of(one, root, prefix + "[]" if "properties" in one else prefix)
        keys |= nested
    return {key.replace("[][]", "[]") for key in keys}


def documented_keys(section):
    """From the first column of its tables: `.b` behind `x.a` is x.b."""
    keys = set()
    for row in re.findall(r"^\| (`[^|]*) \|", section, re.M):
        parent = ""
        for name in re.findall(r"`([^`]+)`", row):
            path = parent + name if name.startswith(".") else name
            parent = path[:path.rfind(".")] if "." in path else ""
            keys.add(path)
    return keys


def is_closed(schema):
    """No object takes keys that it does not name, unless its keys are data."""
    if isinstance(schema, list):
        return all(map(is_closed, schema))
    if not isinstance(schema, dict):
        return True
    has_open_object = schema.get("type") == "object" and "additionalProperties" not in schema
    has_open_names = "required" in schema and "type" in schema and schema.get("additionalProperties") is not False
    return not has_open_object and not has_open_names and all(is_closed(value) for value in schema.values())


def check_docs(test):
    sections = re.split(r"^## ", (test.source / "docs/json.md").read_text(encoding="utf-8"), flags=re.M)
    documented = {}
    for section in sections:
        for name in re.findall(r"^Schema: \[\w+\.json\]\(schema/(\w+)\.json\)", section, re.M):
            documented[name] = documented_keys(section)
    for name, schema in test.schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        if not is_closed(schema):
            test.fault(f"docs/schema/{name}.json takes keys that it does not name")
        there, told = keys_of(schema, schema), documented.get(name, set())
        for key in sorted(there - told):
            test.fault(f"docs/json.md says nothing of {key} of schema/{name}.json")
        for key in sorted(told - there):
            test.fault(f"docs/schema/{name}.json lacks {key}, which docs/json.md describes")
        print(f"schema {name}: {len(there)} keys")
    for name in sorted(set(documented) ^ set(test.schemas)):
        test.fault(f"{name}: a schema without a section in docs/json.md, or the other way round")
    for name in sorted(set(test.schemas) - test.seen - {INPUT_SCHEMA}):
        test.fault(f"nothing was printed for schema {name}")


def main():
    signal.alarm(250)  # a FIFO that nobody opens
    sys.stdout.reconfigure(line_buffering=True)
    with tempfile.TemporaryDirectory() as folder:
        test = Test(pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve()), pathlib.Path(folder).resolve())
        for check in (check_batches, check_running, check_cancelled_and_lost, check_damaged, check_clusters,
                      check_task_lines, check_verbs, check_docs):
            check(test)
        for name in sorted(CLASSES - test.classes):
            test.fault(f"no task ended as {name}")
        print(f"{test.checked} objects checked, {test.faults} faults")
    return 1 if test.faults else 0


if __name__ == "__main__":
    sys.exit(main())
