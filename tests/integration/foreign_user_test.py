#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Another user at a driver's control socket, and a driver's place that another user's process has taken.

The modes of the directories keep other users away. Here they are loosened, so that nothing but the look at who is at
the other end stands in between.

usage: foreign_user_test.py ALLOT
Exit status 0: it holds; 1: it does not; 77: skipped, with the reason.
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile

SKIPPED = 77
OTHER = 65534
PATIENCE = 60


def require(condition, what):
    if not condition:
        sys.exit("FAILED: " + what)


def as_other(act):
    """Runs `act` in a process of another user; it returns what that process is to say. Returns the process's id and
    where that is read."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, os.fdopen(read_end, "rb")
    status = 1
    try:
        os.close(read_end)
        os.setgroups([])
        os.setresgid(OTHER, OTHER, OTHER)
        os.setresuid(OTHER, OTHER, OTHER)
        signal.alarm(PATIENCE)
        said = act(write_end)
        os.write(write_end, json.dumps(said).encode())
        status = 0
    finally:
        os._exit(status)


def result_of(pid, reader):
    said = reader.read()
    require(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, f"the other user's process failed: {said}")
    return json.loads(said)


def read_all(connection):
    """What comes until the other end closes; a connection that is reset has ended, too."""
    got = b""
    try:
        while block := connection.recv(4096):
            got += block
    except ConnectionError:
        pass
    return got.decode()


class Place:
    """A home of its own for allot, and a batch that runs until its gate is opened."""

    def __init__(self, allot, root):
        self.allot, self.root = allot, root
        self.runtime, self.work = root / "runtime", root / "work"
        for folder in (self.runtime, self.work):
            folder.mkdir(mode=0o700)
        self.environment = dict(os.environ, XDG_RUNTIME_DIR=str(self.runtime), XDG_STATE_HOME=str(root / "state"),
                                XDG_CONFIG_HOME=str(root / "config"), LC_ALL="C.UTF-8")
        os.mkfifo(self.work / "ready")
        os.mkfifo(self.work / "gate")

    def run(self, *words):
        return subprocess.run([self.allot, *words], env=self.environment, cwd=self.work, capture_output=True, text=True,
                              timeout=PATIENCE, check=False)

    def start_batch(self):
        process = subprocess.Popen([self.allot, "run", "-c", "sequential", "--batch-dir", "b", "--lines", "-"],
                                   env=self.environment, cwd=self.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        process.stdin.write("echo x > ready; cat gate\necho second\n")
        process.stdin.close()
        process.stdin = None
        (self.work / "ready").read_text()
        return process

    def open_gate(self):
        with open(self.work / "gate", "w", encoding="utf-8"):
            pass

    def loosen(self, is_loose):
        """The runtime directory and what is in it, for everybody or as it is to be."""
        for folder in (self.root, self.runtime, self.runtime / "allot"):
            folder.chmod(0o777 if is_loose else 0o700)
        for path in (self.runtime / "allot").glob("*.ctl"):
            path.chmod(0o666 if is_loose else 0o600)


def check_foreign_client(place):
    """It is refused, whatever it sends, and the driver goes on serving its owner, meanwhile and afterwards."""
    with place.start_batch() as driver:
        try:
            (path,) = (place.runtime / "allot").glob(f"driver-{driver.pid}-*.ctl")
            cancel = json.dumps({"op": "cancel", "batch": str(place.work / "b"), "grace_ms": 0}) + "\n"

            def ask(_):
                said = []
                for text in (cancel, '{"op": "info"}\n', "", "x" * 100_000):
                    with socket.socket(socket.AF_UNIX) as connection:
                        connection.connect(str(path))
                        try:
                            connection.sendall(text.encode())
                        except ConnectionError:
                            pass
                        said.append(read_all(connection))
                return said

            place.loosen(True)
            said = result_of(*as_other(ask))
            place.loosen(False)
            require(said == [""] * 4, f"another user got answers: {said}")
            # The owner's request by the same words is understood.
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                connection.sendall(b'{"op": "info"}\n')
                require(json.loads(connection.makefile().readline())["pid"] == driver.pid, "the owner is not answered")
            told = place.run("explain", "--json", "./b")
            require(told.returncode == 0 and len(told.stdout.splitlines()) == 2, f"explain: {told}")
            held = place.run("hold", "./b", "--steps", "1")
            require(held.returncode == 0, f"hold: {held}")
            require(place.run("release", "./b").returncode == 0, "release")
            place.open_gate()
            out, err = driver.communicate(timeout=PATIENCE)
            require(driver.returncode == 0, f"the batch did not end well: {out}{err}")
        finally:
            driver.kill()


def check_foreign_server(place):
    """A process of another user has the place of the batch's driver: it hears nothing."""
    with place.start_batch() as driver:
        try:
            place.open_gate()
            out, err = driver.communicate(timeout=PATIENCE)
            require(driver.returncode == 0, f"the batch did not end well: {out}{err}")
        finally:
            driver.kill()

    def listen(write_end):
        own = pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
        path = f"{place.runtime}/allot/driver-{os.getpid()}-{own}.ctl"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            os.chmod(path, 0o666)
            server.listen()
            os.write(write_end, f"{own}\n".encode())
            connection, _ = server.accept()
            return {"heard": read_all(connection)}

    place.loosen(True)
    pid, reader = as_other(listen)
    is_reaped = False
    try:
        ticks = int(reader.readline())
        place.loosen(False)
        # The batch's newest claim names that process.
        claims = place.work / "b" / "epochs"
        claim = json.loads((claims / "1").read_text())
        claim.update(epoch=2, pid=pid, start_ticks=ticks)
        (claims / "2").write_text(json.dumps(claim))
        asked = place.run("explain", "./b")
        require(asked.returncode != 0 and "belongs to another user" in asked.stderr, f"explain: {asked}")
        is_reaped = True
        require(result_of(pid, reader) == {"heard": ""}, "a process of another user was told something")
    finally:
        if not is_reaped:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def main():
    if os.geteuid() != 0:
        print("needs root, to become another user")
        return SKIPPED
    allot = pathlib.Path(sys.argv[1]).resolve()
    for check in (check_foreign_client, check_foreign_server):
        with tempfile.TemporaryDirectory(prefix="allot-foreign-") as root:
            check(Place(allot, pathlib.Path(root)))
            print(f"{check.__name__}: as it is to be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
