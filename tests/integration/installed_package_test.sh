#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `cmake --install` gives a tree that can be moved, used by programs outside it, and needs nothing of the build.
# usage: installed_package_test.sh SOURCE BUILD CXX CXXFLAGS
set -euo pipefail
source_dir=$1 build_dir=$2 cxx=$3 flags=$4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config
unset LD_LIBRARY_PATH ALLOT_PLUGIN_PATH ALLOT_CLUSTER_PATH DESTDIR

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# Installed at one place, used from another.
cmake --install "$build_dir" --prefix "$work/first" >"$work/install.log" || { cat "$work/install.log"; fail "cmake --install"; }
mv "$work/first" "$work/moved"
prefix=$work/moved
libdir=$(dirname "$(find "$prefix" -name 'liballot.so')")
echo "installed: $(find "$prefix" -type f | wc -l) files"

DESTDIR=$work/staged cmake --install "$build_dir" --prefix /opt/allot >/dev/null
diff <(cd "$prefix" && find . | sort) <(cd "$work/staged/opt/allot" && find . | sort) || fail "DESTDIR gives another tree"

for file in bin/allot bin/allot-worker-node libexec/allot/allot-guard share/allot/cluster_configs/multiprocess.toml \
  share/allot/cluster_configs/sequential.toml share/allot/schema/summary.json share/man/man1/allot.1 share/bash-completion/completions/allot \
  include/allot/protocol/cluster_distributor.h; do
  [ -f "$prefix/$file" ] || fail "not installed: $file"
done

# Nothing names the place it was built at or first installed to (debug information may).
if grep -rIl -e "$build_dir" -e "$work/first" "$prefix"; then fail "these texts name the build or the first prefix"; fi
mapfile -t programs < <(find "$prefix" -type f \( -name 'liballot*.so*' -o -path '*/bin/*' \))
for program in "${programs[@]}"; do
  # shellcheck disable=SC2016  # $ORIGIN is the dynamic linker's word
  if readelf -d "$program" | grep -E 'R(UN)?PATH' | grep -vF '$ORIGIN'; then fail "$program: an absolute library path"; fi
  libraries=$(ldd "$program")
  if grep 'not found' <<<"$libraries"; then fail "$program: a library is missing"; fi
  while read -r library; do
    [[ $library == "$work"/moved/* ]] || fail "$program uses $library"
  done < <(grep -oE '/[^ ]*liballot[^ ]*' <<<"$libraries")
done
echo "libraries: ${#programs[@]} files look for liballot in their own tree only"

# Every header of the API finds what it includes.
export PKG_CONFIG_PATH=$libdir/pkgconfig
read -ra cflags <<<"$(pkg-config --cflags allot) $flags"
read -ra libs <<<"$(pkg-config --libs allot)"
(cd "$prefix/include/allot" && find . -name '*.h' -printf '#include "%P"\n') | sort >"$work/all_headers.cpp"
"$cxx" "${cflags[@]}" -Wall -Wextra -fsyntax-only "$work/all_headers.cpp" || fail "an installed header lacks another"

# The example, built both ways.
cmake -S "$source_dir/examples/submit_cpp" -B "$work/by_cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_CXX_FLAGS="$flags" >"$work/configure.log" 2>&1 || { cat "$work/configure.log"; fail "find_package(allot)"; }
cmake --build "$work/by_cmake" >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail "building against the package"; }
"$cxx" "${cflags[@]}" "$source_dir/examples/submit_cpp/main.cpp" -o "$work/by_pkg_config" "${libs[@]}" -Wl,-rpath,"$libdir" ||
  fail "building with pkg-config"
for example in "$work/by_cmake/submit_cpp" "$work/by_pkg_config"; do
  "$example" >"$work/example.out" || { cat "$work/example.out"; fail "$example: exit status $?"; }
  [ "$(grep -c 'done' "$work/example.out")" = 15 ] || { cat "$work/example.out"; fail "$example: not 15 tasks done"; }
done
cat "$work/example.out"

# The installed programs call each other, not those of the build: a task looks at its parent and its parent's parent.
[ "$("$prefix/bin/allot" --version)" = "$("$build_dir/bin/allot" --version)" ] || fail "versions differ"
cat >"$work/ancestors.sh" <<'END'
guard=$PPID
readlink "/proc/$guard/exe"
readlink "/proc/$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$guard/status")/exe"
END
"$prefix/bin/allot" run --batch-dir "$work/batch" -- sh "$work/ancestors.sh" || fail "allot run"
ancestors=$("$prefix/bin/allot" output "$work/batch" 0)
[ "$ancestors" = "$prefix/libexec/allot/allot-guard
$prefix/bin/allot-worker-node" ] || fail "the task's ancestors are: $ancestors"
echo "a task's ancestors lie in the installed tree"
