#!/bin/sh
# SPDX-License-Identifier: MIT
# A host without a Slurm configuration: `allot clusters` says so within seconds, and leaves no process.
# usage: slurm_absent_test.sh ALLOT
set -eu
allot=$1
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
said=$(SLURM_CONF=$place/none.conf XDG_CONFIG_HOME=$place timeout 30 "$allot" clusters)
echo "$said" | grep -q 'slurm .*not usable' || { echo "$said"; echo "the cluster is not said to be not usable"; exit 1; }
echo "$said" | grep -q "$place/none.conf" || { echo "$said"; echo "the reason does not name the file"; exit 1; }
