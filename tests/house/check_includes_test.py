#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/check_includes must pass a good tree and name each bad include of a bad one."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_includes"

GOOD = {
    "protocol/result.h": "#include <string>\n#include <sys/types.h>\n#include <tl/expected.hpp>\n",
    "process/fd.h": '#include "protocol/result.h"\n#include <boost/asio.hpp>\n',
    "ledger/fold.h": '#include "process/fd.h"\n',
    "worker_node/wire.h": '#include "ledger/fold.h"\n#include "process/fd.h"\n',
    "distributors/slurm/slurm.cpp": '#include "distributors/slurm/slurm.h"\n#include "worker_node/wire.h"\n',
    "distributors/slurm/slurm.h": "",
    "distributors/mpi/mpi.h": "",
    "engine/engine.h": '#include "protocol/result.h"\n',
    "cli/main.cpp": '#include "engine/engine.h"\n',
    "tests/support/helper.h": "",
}

# What is added to a file of the good tree, and what the complaint must contain.
BAD = [
    ("protocol/result.h", '#include "process/fd.h"', "protocol/result.h:4: includes process/fd.h"),
    ("protocol/result.h", "#include <process/fd.h>", "lies above"),
    ("protocol/result.h", "#include <fmt/format.h>", "standard library, libc and tl/expected.hpp only"),
    ("process/fd.h", '#include "ledger/fold.h"', "ledger/ lies above"),
    ("ledger/fold.h", '#  include "worker_node/wire.h"', "worker_node/ lies above"),
    ("worker_node/wire.h", '#include "engine/engine.h"', "engine/ lies above"),
    ("distributors/slurm/slurm.h", '#include "distributors/mpi/mpi.h"', "siblings"),
    ("distributors/slurm/slurm.h", '#include "engine/engine.h"', "engine/ lies above"),
    ("engine/engine.h", '#include "distributors/mpi/mpi.h"', "through the protocol"),
    ("engine/engine.h", '#include "cli/main.cpp"', "cli/ lies above"),
    ("cli/main.cpp", '#include "distributors/mpi/mpi.h"', "through the protocol"),
    ("engine/engine.h", '#include "tests/support/helper.h"', "must not need tests/"),
    ("engine/engine.h", '#include "missing.h"', "no such file"),
]


def run(files: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory(prefix="allot-includes-") as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return subprocess.run([sys.executable, CHECK, root], capture_output=True, text=True)


class CheckIncludes(unittest.TestCase):
    def test_good_tree_passes(self):
        done = run(GOOD)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("0 wrong", done.stdout)

    def test_each_bad_include_is_named(self):
        for name, line, complaint in BAD:
            with self.subTest(name=name, line=line):
                done = run({**GOOD, name: GOOD[name] + line + "\n"})
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn(complaint, done.stdout)
                self.assertIn("1 wrong", done.stdout)

    def test_no_sources_is_misuse(self):
        self.assertEqual(run({}).returncode, 2)


if __name__ == "__main__":
    unittest.main()
