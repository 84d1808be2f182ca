#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/check_docs must run what a page shows and name each fault of a bad page."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_docs"

GOOD = """# A page
## The second: heading
[up](#the-second-heading) [file](docs/other.md) [there](docs/other.md#other) [web](https://example.org/)
```sh
tools/build_it
allot run > made     # by the program of the build
```
```sh
test "$(cat made)" = "allot was run"   # the same directory as the block before
```
```text
$ anything
```
```cpp
int  answer();
```
"""

BAD = [
    ("```sh\nfalse\n```\n", "README.md:1: this block failed (exit status 1)"),
    ("```sh\nfalse | true\n```\n", "this block failed"),
    ("```sh\necho told >&2; cat missing\n```\n", "told"),
    ("\n```sh\ntools/missing\n```\n", "README.md:3: tools/missing is no executable file"),
    ("```bash\ntrue\n```\n", "a block of language 'bash'"),
    ("```sh no-run\ntrue\n```\n", "a block of language 'sh no-run'"),
    ("```\ntrue\n```\n", "a block of language ''"),
    ("```cpp\nint other();\n```\n", "stands in no file"),
    ("[x](missing.md)\n", "README.md:1: links to missing.md: no such file"),
    ("[x](docs/other.md#none)\n", "no such heading"),
]


def run(readme: str, *options: str) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory(prefix="allot-docs-test-") as folder:
        source = pathlib.Path(folder)
        for name, text in {
            "README.md": readme,
            "docs/other.md": "# Other\n",
            "tools/build_it": "#!/bin/sh\nexit 1\n",
            "src/answer.h": "int answer();\n",
            "out/bin/allot": '#!/bin/sh\necho "allot was $1"\n',
        }.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (source / "tools/build_it").chmod(0o755)
        (source / "out/bin/allot").chmod(0o755)
        return subprocess.run([sys.executable, CHECK, "--source", source, "--build", source / "out", *options],
                              capture_output=True, text=True)


class CheckDocs(unittest.TestCase):
    def test_good_page_passes(self):
        done = run(GOOD)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("2 files, 2 blocks run, 0 faults", done.stdout)

    def test_each_fault_is_named(self):
        for page, complaint in BAD:
            with self.subTest(page=page):
                done = run(page)
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn(complaint, done.stdout)

    def test_links_only_runs_nothing(self):
        self.assertEqual(run("```sh\nfalse\n```\n", "--links-only").returncode, 0)


if __name__ == "__main__":
    unittest.main()
