# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by the other tools: where the source lies, and how a step that fails says so.

allot_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
jobs=${JOBS:-$(nproc)}

say() { printf '\n== %s\n' "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# step WHAT HINT COMMAND…: runs the command; if it fails, says which step it was and what to do.
step() {
  local what=$1 hint=$2 status=0
  shift 2
  say "$what"
  "$@" || status=$?
  if [ "$status" -ne 0 ]; then
    printf '\n%s: this step failed (exit status %d): %s\n  command: %s\n  what to do: %s\n' \
      "${0##*/}" "$status" "$what" "$*" "$hint" >&2
    exit 1
  fi
}

# build PRESET [TARGET]: configures and builds it into build/PRESET.
build() {
  local launcher=()
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  step "configure ($1)" "the error above says what is missing; if build/$1 was made by another compiler or machine: rm -r build/$1" \
    cmake -S "$allot_root" --preset "$1" "${launcher[@]}"
  step "build ($1, $jobs jobs)" "the first error above names file and line; out of memory: set JOBS=1" \
    cmake --build "$allot_root/build/$1" -j "$jobs" ${2:+--target "$2"}
}
