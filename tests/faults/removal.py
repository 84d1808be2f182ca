#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`allot remove` is killed: what is left is a whole batch, or one that the next `allot remove` ends.

usage: removal.py NAME --build DIR      NAME: one of the tests below, or "list"
Exit status 0: it holds; 1: it does not.
"""
import shutil
import signal
import sys

from fault_batch import FaultBatch, Violation, main_of
from resource_faults import demand


def killed_at_every_change(programs):
    """kill -9 before each of its changes, one after the other, until one is not reached any more."""
    with FaultBatch(programs) as batch:
        batch.standard_tasks(count=18)
        batch.finish(batch.start("run"))
        links = batch.plant_links()
        kept = batch.root / "kept"
        shutil.copytree(batch.directory, kept, symlinks=True)
        passage = 0
        while True:
            passage += 1
            batch.flag.unlink(missing_ok=True)
            status = batch.finish(batch.start("remove", f"removal_change:{passage}", "driver"))
            if not batch.flag.exists():
                break
            demand(status == -signal.SIGKILL, f"change {passage}: it ended with {status}")
            try:
                batch.remove_to_the_end(links)
            except Violation as violation:
                raise Violation(f"killed before change {passage}: {violation}") from None
            shutil.rmtree(batch.directory)
            shutil.copytree(kept, batch.directory, symlinks=True)
        demand(status == 0, f"without a kill it ended with {status}")
        batch.must_have_links_only(links)
        # The claims, the mark, every file and every directory that is empty then.
        demand(passage > 15, f"only {passage} changes")
        print(f"killed before each of {passage - 1} changes")


def killed_again_and_again(programs):
    """Each removal is killed at its third change, and the next one goes on from there."""
    with FaultBatch(programs) as batch:
        batch.standard_tasks(count=18)
        batch.finish(batch.start("run"))
        links = batch.plant_links()
        for _ in range(100):
            batch.flag.unlink(missing_ok=True)
            remover = batch.start("remove", "removal_change:3", "driver")
            if batch.finish(remover) != -signal.SIGKILL:
                break
            demand(batch.finish(batch.start("resume")) >= 2, "half_removed: resume took it")
        else:
            demand(False, "a hundred removals did not come to an end")
        demand(remover.returncode == 0, f"the last one failed: {batch.errors(remover)}")
        batch.must_have_links_only(links)


TESTS = {test.__name__: test for test in (killed_at_every_change, killed_again_and_again)}


if __name__ == "__main__":
    sys.exit(main_of(TESTS, __doc__))
