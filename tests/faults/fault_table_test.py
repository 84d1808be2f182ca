#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fault_points.txt names every fault point of the sources and no other, broken_builds.py every sabotage.

usage: fault_table_test.py SOURCE_DIR
"""
import pathlib
import re
import sys

from broken_builds import SABOTAGES
from kill_rounds import read_table

FOLDERS = ("protocol", "process", "ledger", "worker_node", "distributors", "engine", "usage", "cli")


def names_in_sources(root, macro):
    pattern = re.compile(macro + r'\("([^"]+)"\)')
    return {name for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in (".cpp", ".h")
            for name in pattern.findall(path.read_text(encoding="utf-8"))}


def main():
    root = pathlib.Path(sys.argv[1])
    faults = 0
    for what, there, listed in (
            ("fault point", names_in_sources(root, "ALLOT_FAULT_POINT"), {row[0] for row in read_table()}),
            ("sabotage", names_in_sources(root, "ALLOT_SABOTAGED"), set(SABOTAGES))):
        for name in sorted(there - listed):
            faults += 1
            print(f"{what} {name} is in the sources and not in the list of tests/faults")
        for name in sorted(listed - there):
            faults += 1
            print(f"{what} {name} is in the list of tests/faults and not in the sources")
        print(f"{len(there)} {what}s")
    return 1 if faults or not there else 0


if __name__ == "__main__":
    sys.exit(main())
