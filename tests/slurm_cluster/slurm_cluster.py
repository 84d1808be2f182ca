# SPDX-License-Identifier: MIT
"""A real Slurm cluster of several nodes on this one machine, for tests: munge, slurmctld, one slurmd a node, and with a
database MariaDB and slurmdbd. Everything is below one directory, every port is its own, and /etc/slurm is neither read
nor changed, so that several clusters can be up at once. As root tasks are tracked by control groups where version 1 of
them can be written; as another user by their parents.

    with SlurmCluster() as cluster:           # or: slurm_cluster.py up DIR … down DIR, from a shell
        subprocess.run(["sbatch", …], env=cluster.environment)

The daemons are started by this module and ended by it, by their pids; `kill`, `pause`, `resume` and `start_daemon` are
for fault tests.
"""
import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SBIN = os.environ["PATH"] + ":/usr/sbin:/sbin"


class ClusterError(Exception):
    """What could not be brought up, with the end of its log."""


def wait_until(what, seconds, condition):
    """Nobody tells when a daemon is ready: it is asked every 20 ms."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def free_ports(count):
    """Ports that nobody has now. They are given back before the daemons take them: another cluster may be faster, so
    a start that fails for this reason is tried again with others."""
    sockets = []
    try:
        for _ in range(count):
            sockets.append(socket.socket())
            sockets[-1].bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def control_groups_usable():
    if os.getuid() != 0:
        return False
    for controller in ("memory", "freezer", "cpuset"):
        probe = f"/sys/fs/cgroup/{controller}/allot_probe_{os.getpid()}"
        try:
            os.mkdir(probe)
            os.rmdir(probe)
        except OSError:
            return False
    return True


class SlurmCluster:
    """`nodes`: n1 … of `cpus` CPUs each in the partitions main, short (a minute), scav (preemptable) and one (n1). For
    each number in `slots`, a node of so many CPUs that is all there is of the partition slotsN; and one more of the largest
    number with 1000 MiB, in slotsN_memory1000."""

    def __init__(self, directory=None, database=True, nodes=4, cpus=16, memory=16000, slots=(), extra="",
                 min_job_age=10, max_array=10001, max_jobs=50000):
        self.is_temporary = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="allot-slurm-", dir="/tmp"))
        self.database = database
        self.nodes, self.cpus, self.memory, self.slots = nodes, cpus, memory, tuple(slots)
        self.extra, self.min_job_age, self.max_array, self.max_jobs = extra, min_job_age, max_array, max_jobs
        self.environment = dict(os.environ, PATH=SBIN, SLURM_CONF=str(self.directory / "slurm.conf"))
        self.user = pwd.getpwuid(os.getuid()).pw_name

    # -- what is asked of it

    def run(self, *command, check=True, timeout=60):
        done = subprocess.run([str(word) for word in command], env=self.environment, capture_output=True, text=True,
                              timeout=timeout, check=False, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(map(str, command))}: exit status {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def node_names(self):
        return [f"n{i}" for i in range(1, self.nodes + 1)] + [node for node, *_ in self.slot_nodes()]

    def slot_nodes(self):
        """Name, CPUs, MiB and partition of each."""
        nodes = [(f"s{count}", count, self.memory, f"slots{count}") for count in self.slots]
        return nodes + [(f"m{count}", count, 1000, f"slots{count}_memory1000") for count in sorted(self.slots)[-1:]]

    def pid(self, daemon):
        """Of munged, mariadbd, slurmdbd, slurmctld or slurmd.NODE; None when it does not run."""
        try:
            pid = int((self.directory / f"run/{daemon}.pid").read_text())
            program = os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix("-wlm")
        except (OSError, ValueError):
            return None
        return pid if program == daemon.split(".")[0] and is_alive(pid) else None

    def send(self, daemon, number):
        pid = self.pid(daemon)
        if pid is None:
            raise ClusterError(f"{daemon} does not run")
        os.kill(pid, number)
        return pid

    def kill(self, daemon, number=signal.SIGKILL, seconds=30):
        pid = self.send(daemon, number)
        wait_until(f"the end of {daemon}", seconds, lambda: not is_alive(pid))

    def pause(self, daemon):
        self.send(daemon, signal.SIGSTOP)

    def resume(self, daemon):
        self.send(daemon, signal.SIGCONT)

    def adopt(self):
        """One that is up already: takes over what it was made with."""
        self.port = json.loads((self.directory / "ports.json").read_text())
        self.database = (self.directory / "slurmdbd.conf").exists()
        names = [p.name.removeprefix("slurmd.").removesuffix(".pid") for p in self.directory.glob("run/slurmd.*.pid")]
        self.nodes = sum(1 for name in names if name.startswith("n"))
        self.slots = tuple(int(name[1:]) for name in names if name.startswith("s"))

    # -- up

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *unused):
        self.down()

    def up(self):
        for attempt in range(3):
            try:
                self.start_all()
                return
            except (ClusterError, subprocess.TimeoutExpired):
                if attempt == 2:
                    self.down(keep=True)
                    raise
                self.down(keep=True)

    def start_all(self):
        for name in ("munge", "log", "ctld", "run", "spool", "mysql", "tmp"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for path in (self.directory, self.directory / "munge", self.directory / "log", self.directory / "run"):
            path.chmod(0o755)
        if self.pid("munged") is None or not (self.directory / "ports.json").exists():
            self.write_configuration()
        else:  # up, or partly: its daemons know each other by the ports that they have
            self.port = json.loads((self.directory / "ports.json").read_text())
        self.start_daemon("munged")
        if self.database:
            self.start_daemon("mariadbd")
            self.start_daemon("slurmdbd")
            self.make_accounts()
        self.start_daemon("slurmctld")
        for node in self.node_names():
            self.start_daemon(f"slurmd.{node}", wait=False)
        self.wait_for_nodes()
        # What a test run that was cut off has left in the queue.
        self.run("scancel", "--me", check=False)
        wait_until("an empty queue", 60, lambda: not self.run("squeue", "-h", "--me", check=False))

    def write_configuration(self):
        ports = free_ports(3 + len(self.node_names()))
        self.port = {"slurmctld": ports[0], "slurmdbd": ports[1], "mariadbd": ports[2]}
        (self.directory / "ports.json").write_text(json.dumps(self.port))
        where, host = self.directory, socket.gethostname().split(".")[0]
        groups = control_groups_usable()
        plugins = glob.glob("/usr/lib/*/slurm*/auth_munge.so") + glob.glob("/usr/lib64/slurm/auth_munge.so")
        if not plugins:
            raise ClusterError("Slurm's plugins are not here: apt-get install slurm-wlm")
        sock = where / "munge/munge.sock"
        lines = f"""ClusterName=allot
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={self.port['slurmctld']}
SlurmUser={self.user}
SlurmdUser={self.user}
AuthType=auth/munge
# A job that is put back waits one second longer than a credential lives (by default two minutes).
AuthInfo=socket={sock},cred_expire=5
CredType=cred/munge
PluginDir={os.path.dirname(plugins[0])}
StateSaveLocation={where}/ctld
SlurmdSpoolDir={where}/spool/%n
# Each node its own: else srun --mpi=pmix over two nodes of one host fails.
TmpFS={where}/tmp/%n
SlurmctldPidFile={where}/run/slurmctld.pid
SlurmdPidFile={where}/run/slurmd.%n.pid
SlurmctldLogFile={where}/log/slurmctld.log
SlurmdLogFile={where}/log/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType={'proctrack/cgroup' if groups else 'proctrack/linuxproc'}
TaskPlugin={'task/cgroup' if groups else 'task/none'}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
# More CPUs than the machine has.
SlurmdParameters=config_overrides
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,default_queue_depth=2000,partition_job_depth=0,bf_interval=2,bf_continue,bf_max_job_test=2000,bf_max_job_array_resv=20,max_array_tasks={self.max_array}
MaxArraySize={self.max_array}
MaxJobCount={self.max_jobs}
EnforcePartLimits=NO
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PriorityType=priority/multifactor
# Room below it, so that nice has something to lower.
PriorityWeightPartition=1000000
JobRequeue=1
MinJobAge={self.min_job_age}
KillWait=3
OverTimeLimit=0
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=10
BatchStartTimeout=10
CompleteWait=0
InactiveLimit=0
UnkillableStepTimeout=20
ReturnToService=2
ResumeTimeout=5
RebootProgram=/bin/true
"""
        if self.database:
            lines += f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self.port['slurmdbd']}
AccountingStoragePass={sock}
AccountingStorageEnforce=associations,limits,qos
"""
        else:
            lines += "AccountingStorageType=accounting_storage/none\nJobCompType=jobcomp/none\n"
        node_ports = iter(ports[3:])
        for i in range(1, self.nodes + 1):
            lines += (f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={next(node_ports)} CPUs={self.cpus} "
                      f"RealMemory={self.memory} Feature=lab State=UNKNOWN\n")
        for node, count, memory, _ in self.slot_nodes():
            lines += (f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={next(node_ports)} CPUs={count} "
                      f"RealMemory={memory} State=UNKNOWN\n")
        most = f"n[1-{self.nodes}]"
        lines += f"""PartitionName=main Nodes={most} Default=YES MaxTime=INFINITE DefaultTime=60 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=short Nodes={most} MaxTime=1 DefaultTime=1 PriorityTier=20 PreemptMode=OFF State=UP
PartitionName=scav Nodes={most} MaxTime=INFINITE DefaultTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 State=UP
PartitionName=one Nodes=n1 MaxTime=INFINITE DefaultTime=60 MaxNodes=1 PriorityTier=10 PreemptMode=OFF State=UP
"""
        for node, _, _, partition in self.slot_nodes():
            lines += (f"PartitionName={partition} Nodes={node} MaxTime=INFINITE DefaultTime=60 PriorityTier=10 "
                      "PreemptMode=OFF State=UP\n")
        (where / "slurm.conf").write_text(lines + self.extra)
        # Only the first version of control groups has a memory controller on the machines that tests run on.
        (where / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\n" + ("CgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\nConstrainCores=no\n"
                                          "ConstrainRAMSpace=yes\nConstrainSwapSpace=no\nConstrainDevices=no\n"
                                          "MinRAMSpace=4\n" if groups else ""))
        if self.database:
            conf = where / "slurmdbd.conf"
            conf.touch(0o600)
            conf.write_text(f"""AuthType=auth/munge
AuthInfo=socket={sock}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={self.port['slurmdbd']}
SlurmUser={self.user}
DebugLevel=info
LogFile={where}/log/slurmdbd.log
PidFile={where}/run/slurmdbd.pid
PluginDir={os.path.dirname(plugins[0])}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self.port['mariadbd']}
StorageUser=slurm
StoragePass=allot
StorageLoc=slurm_acct_db
CommitDelay=0
""")

    def start_daemon(self, daemon, wait=True):
        """munged, mariadbd, slurmdbd, slurmctld or slurmd.NODE. One that runs is left alone."""
        if self.pid(daemon) is not None:
            return
        where = self.directory
        (where / f"run/{daemon}.pid").unlink(missing_ok=True)
        kind, _, node = daemon.partition(".")
        try:
            getattr(self, f"start_{kind}")(*([node] if node else []))
        except subprocess.CalledProcessError as error:
            raise ClusterError(f"{daemon}: exit status {error.returncode}\n{self.end_of_log(daemon)}") from error
        if wait:
            self.wait_for(daemon)

    def end_of_log(self, daemon):
        try:
            return "".join((self.directory / f"log/{daemon}.log").read_text(errors="replace").splitlines(True)[-20:])
        except OSError:
            return ""

    def call(self, *command):
        subprocess.run([str(word) for word in command], env=self.environment, check=True, timeout=60, cwd="/",
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_munged(self):
        where = self.directory / "munge"
        key = where / "munge.key"
        if not key.exists():
            key.touch(0o600)
            key.write_bytes(os.urandom(1024))
        for name in ("munge.sock", "munge.sock.lock"):
            (where / name).unlink(missing_ok=True)
        self.call("munged", f"--key-file={key}", f"--socket={where}/munge.sock", f"--seed-file={where}/munge.seed",
                  f"--pid-file={self.directory}/run/munged.pid", f"--log-file={self.directory}/log/munged.log")

    def start_mariadbd(self):
        where = self.directory
        if not (where / "mysql/mysql").exists():
            self.call("mariadb-install-db", "--no-defaults", f"--user={self.user}", f"--datadir={where}/mysql",
                      "--skip-test-db", "--auth-root-authentication-method=normal", "--innodb-log-file-size=16M")
        with open(where / "log/mariadbd.log", "ab") as log:
            subprocess.Popen(["mariadbd", "--no-defaults", f"--user={self.user}", f"--datadir={where}/mysql",
                              f"--socket={where}/run/mysql.sock", "--bind-address=127.0.0.1",
                              f"--port={self.port['mariadbd']}", f"--pid-file={where}/run/mariadbd.pid",
                              "--skip-name-resolve", "--skip-grant-tables", "--innodb-log-file-size=16M",
                              "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0",
                              "--innodb-doublewrite=0", "--innodb-lock-wait-timeout=900", "--skip-log-bin"],
                             env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                             start_new_session=True)

    def start_slurmdbd(self):
        self.call("slurmdbd")

    def start_slurmctld(self):
        self.call("slurmctld")

    def start_slurmd(self, node):
        for name in (f"spool/{node}", f"tmp/{node}"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / f"tmp/{node}").chmod(0o1777)
        self.call("slurmd", "-N", node)

    def answers(self, *command):
        return subprocess.run([str(word) for word in command], env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode == 0

    def wait_for(self, daemon):
        ready = {
            "munged": lambda: (self.directory / "munge/munge.sock").exists(),
            "mariadbd": lambda: self.answers("mariadb-admin", "--no-defaults", f"--socket={self.directory}/run/mysql.sock", "ping"),
            "slurmdbd": lambda: self.answers("sacctmgr", "-n", "-P", "show", "cluster"),
            "slurmctld": lambda: self.run("scontrol", "ping", check=False).rstrip().endswith(" UP"),
        }.get(daemon, lambda: self.pid(daemon) is not None)
        try:
            wait_until(daemon, 60, ready)
            wait_until(f"the pid of {daemon}", 10, lambda: self.pid(daemon) is not None)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.end_of_log(daemon)}") from error

    def wait_for_nodes(self, seconds=60):
        names = self.node_names()

        def all_up():
            shown = self.run("sinfo", "-h", "-N", "-t", "idle,mix,alloc", "-o", "%N", check=False).split()
            return set(names) <= set(shown)

        wait_until("the nodes", seconds, all_up)

    def make_accounts(self):
        """Account "lab" for this user; QOS "tiny": three jobs submitted at most, two CPUs at a time."""
        done = self.directory / "run/accounts"
        if done.exists():
            return
        orders = f"""add cluster allot
add account lab Cluster=allot Description=lab Organization=lab
add qos tiny MaxSubmitJobsPerUser=3 GrpTRES=cpu=2
add user {self.user} Account=lab Cluster=allot DefaultAccount=lab
modify user {self.user} set qos+=tiny
quit
"""
        # One process for all of it: each one costs half a second.
        subprocess.run(["sacctmgr", "-i", "-Q"], input=orders, env=self.environment, text=True, timeout=60, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done.touch()

    # -- down

    def down(self, keep=False):
        if self.pid("slurmctld") is not None:
            self.answers("scancel", "--me")
        daemons = [f"slurmd.{node}" for node in self.node_names()] + ["slurmctld", "slurmdbd", "mariadbd", "munged"]
        for daemon in daemons:
            pid = self.pid(daemon)
            if pid is None:
                continue
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
            try:
                wait_until(daemon, 10, lambda p=pid: not is_alive(p))
            except ClusterError:
                os.kill(pid, signal.SIGKILL)
            if daemon.startswith("slurmd."):
                continue
        self.end_step_daemons()
        for folder in glob.glob("/sys/fs/cgroup/*/slurm_*"):
            if os.path.basename(folder).removeprefix("slurm_") in self.node_names():
                for path, _, _ in os.walk(folder, topdown=False):
                    try:
                        os.rmdir(path)
                    except OSError:
                        pass  # of another cluster that has a node of this name, or with a process in it
        if self.is_temporary and not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def end_step_daemons(self):
        """slurmstepd outlives its slurmd by design. Ours have our configuration in their environment."""
        ours = f"SLURM_CONF={self.directory}/slurm.conf".encode()
        for path in glob.glob("/proc/[0-9]*"):
            try:
                program = os.path.basename(os.readlink(f"{path}/exe")).removesuffix("-wlm")
                if program == "slurmstepd" and ours in pathlib.Path(f"{path}/environ").read_bytes().split(b"\0"):
                    os.kill(int(path.rsplit("/", 1)[1]), signal.SIGKILL)
            except OSError:
                pass


def main():
    """slurm_cluster.py up DIR [--no-database] [--slots N,N…] [--max-array N] | down DIR [--wipe]"""
    if len(sys.argv) < 3 or sys.argv[1] not in ("up", "down"):
        print(main.__doc__, file=sys.stderr)
        return 2
    options = sys.argv[3:]
    slots = [int(n) for n in options[options.index("--slots") + 1].split(",")] if "--slots" in options else []
    most = int(options[options.index("--max-array") + 1]) if "--max-array" in options else 10001
    cluster = SlurmCluster(sys.argv[2], database="--no-database" not in options, slots=slots, max_array=most,
                           max_jobs=5 * most)
    if sys.argv[1] == "up":
        try:
            cluster.up()
        except ClusterError as error:
            print(f"slurm_cluster: {error}", file=sys.stderr)
            return 1
        print(f"export SLURM_CONF={cluster.directory}/slurm.conf")
        return 0
    if (cluster.directory / "ports.json").exists():
        cluster.adopt()
    cluster.is_temporary = "--wipe" in options
    cluster.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
