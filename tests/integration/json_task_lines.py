# SPDX-License-Identifier: MIT
"""JSON lines that allot run takes or refuses, each a whole input."""

TAKEN = r"""
{"command": "true"}
{"command": "two\nlines"}
{"command": ["true"]}
{"command": ["printf", "", "a b", "\n", "ü"]}
{"command": "true", "name": "a/b c"}
{"command": "true", "env": {}}
{"command": "true", "env": {"A": "", "B C": "x=y"}}
{"command": "true", "cwd": "/tmp", "stdin": "in", "stdout": "out", "stderr": "../err"}
{"command": "true", "timeout": 90}
{"command": "true", "timeout": 0.25}
{"command": "true", "timeout": "90"}
{"command": "true", "timeout": "1.5"}
{"command": "true", "timeout": "250ms"}
{"command": "true", "timeout": " 1h 30m "}
{"command": "true", "timeout": "1d2h3m4s5ms"}
{"command": "true", "timeout": "1.5h"}
{"command": "true", "timeout": "1h0.5m"}
{"command": "true", "timeout": "01:30"}
{"command": "true", "timeout": "100:59:59"}
{"command": "true", "timeout": "1-12"}
{"command": "true", "timeout": "1-23:59:00"}
{"command": "true", "resources": {}}
{"command": "true", "resources": {"cores": 1, "gpus": 0, "ranks": 1, "nodes": 1000000}}
{"command": "true", "resources": {"memory": 4096, "runtime": "1m"}}
{"command": "true", "resources": {"memory": "1.5G"}}
{"command": "true", "resources": {"memory": "10 MB"}}
{"command": "true", "resources": {"memory": "2kib"}}
{"command": "true", "resources": {"memory": "512"}}
{"command": "true", "resources": {"memory": "512b"}}
{"command": "true", "resources": {"queue": "default", "account": "a", "constraint": "c d", "options": {"x": "", "y": "z"}}}
{"command": "true", "retry": {}}
{"command": "true", "retry": {"error": 2, "out_of_memory": "3:10s:2:1h", "lost": 0}}
{"command": "true", "retry": {"error": "1000:0s:1.5", "timed_out": "1:250ms", "signaled": "05:90:100"}}
{"command": "true", "exit_codes": {"75": "retry", "1": "fatal", "255": "success"}}
{"command": "true", "exit_codes": {"75": "defer"}, "retry": {"defer": "5m:12h"}}
{"command": "true", "retry": {"defer": 5, "error": 1}}
{"command": "true", "priority": -5}
{"command": "true", "priority": 2147483647}
{"command": "true", "name": "licence", "max_parallel": 1}
{"command": "true", "begin": "10m"}
{"command": "true", "begin": 0}
{"command": "true", "begin": 1.5}
{"command": "true", "begin": "0s"}
{"command": "true", "begin": "2001-09-09T01:46"}
{"command": "true", "begin": "2199-12-30T23:59:59Z"}
{"command": "true", "name": "a", "after": []}
""".strip().splitlines()

REFUSED = r"""
[]
"true"
null
{}
{"command": null}
{"command": ""}
{"command": " \t"}
{"command": 5}
{"command": []}
{"command": [""]}
{"command": ["true", 1]}
{"command": "a\u0000b"}
{"command": "true", "begin": null}
{"command": "true", "begin": ""}
{"command": "true", "begin": -1}
{"command": "true", "begin": "tomorrow"}
{"command": "true", "begin": "2027-1-31T20:00"}
{"command": "true", "begin": "2027-01-31 20:00"}
{"command": "true", "begin": "2027-13-31T20:00"}
{"command": "true", "begin": "2200-01-01T20:00Z"}
{"command": "true", "begin": {"at": "10m"}}
{"command": ["a", "b\u0000"]}
{"comand": "true"}
{"command": "true", "names": "x"}
{"command": "true", "name": ""}
{"command": "true", "name": null}
{"command": "true", "name": 1}
{"command": "true", "env": []}
{"command": "true", "env": {"A": 1}}
{"command": "true", "env": {"": "x"}}
{"command": "true", "env": {"A=B": "x"}}
{"command": "true", "env": {"A": "\u0000"}}
{"command": "true", "cwd": ""}
{"command": "true", "stdin": 0}
{"command": "true", "timeout": 0}
{"command": "true", "timeout": "0s"}
{"command": "true", "timeout": -1}
{"command": "true", "timeout": ""}
{"command": "true", "timeout": "soon"}
{"command": "true", "timeout": "1h1h"}
{"command": "true", "timeout": "1m1h"}
{"command": "true", "timeout": "1h30"}
{"command": "true", "timeout": "1.5h30m"}
{"command": "true", "timeout": "1:60"}
{"command": "true", "timeout": "1-24"}
{"command": "true", "timeout": "1:2:3:4"}
{"command": "true", "timeout": "1H"}
{"command": "true", "timeout": "1e3"}
{"command": "true", "timeout": true}
{"command": "true", "timeout": 1, "resources": {"runtime": 1}}
{"command": "true", "resources": []}
{"command": "true", "resources": {"core": 1}}
{"command": "true", "resources": {"cores": 0}}
{"command": "true", "resources": {"cores": -1}}
{"command": "true", "resources": {"cores": 1.5}}
{"command": "true", "resources": {"cores": "1"}}
{"command": "true", "resources": {"cores": 1000001}}
{"command": "true", "resources": {"gpus": -1}}
{"command": "true", "resources": {"memory": 0}}
{"command": "true", "resources": {"memory": "0G"}}
{"command": "true", "resources": {"memory": "10 potatoes"}}
{"command": "true", "resources": {"memory": "G"}}
{"command": "true", "resources": {"memory": "-1G"}}
{"command": "true", "resources": {"memory": 1.5}}
{"command": "true", "resources": {"memory": null}}
{"command": "true", "resources": {"queue": ""}}
{"command": "true", "resources": {"options": []}}
{"command": "true", "resources": {"options": {"x": 1}}}
{"command": "true", "retry": 3}
{"command": "true", "retry": {"error": -1}}
{"command": "true", "retry": {"error": 1001}}
{"command": "true", "retry": {"error": true}}
{"command": "true", "retry": {"error": ""}}
{"command": "true", "retry": {"error": "2:soon"}}
{"command": "true", "retry": {"error": "2:1s:0.5"}}
{"command": "true", "retry": {"error": "2:1s:2:1h:3"}}
{"command": "true", "retry": {"error": "1,lost=2"}}
{"command": "true", "retry": {"errors": 1}}
{"command": "true", "retry": {"done": 1}}
{"command": "true", "retry": {"killed": 1}}
{"command": "true", "retry": {"75": "retry"}}
{"command": "true", "exit_codes": []}
{"command": "true", "priority": 1.5}
{"command": "true", "priority": "high"}
{"command": "true", "priority": 2147483648}
{"command": "true", "name": "x", "max_parallel": 0}
{"command": "true", "max_parallel": 2}
{"command": "true", "retry": {"defer": 0}}
{"command": "true", "retry": {"defer": "1m,error=2"}}
{"command": "true", "exit_codes": {"0": "success"}}
{"command": "true", "exit_codes": {"256": "retry"}}
{"command": "true", "exit_codes": {"error": "retry"}}
{"command": "true", "exit_codes": {"1": "again"}}
{"command": "true", "exit_codes": {"1": 1}}
{"command": "true", "after": null}
{"command": "true", "after": -1}
{"command": "true", "after": ""}
{"command": "true", "after": [true]}
{"command": "true", "after": {"when": "ok"}}
{"command": "true", "after": {"task": 0, "when": "always"}}
{"command": "true", "after": {"task": 0, "wen": "ok"}}
{"command": "true", "after": {"task": null}}
""".strip().splitlines()

# What a schema cannot tell, or a parser of JSON takes away.
BEYOND_THE_SCHEMA = r"""
{"command": "true", "command": "false"}
{"command": "true", "after": 0}
{"command": "true", "after": "nobody"}
{"command": "true", "name": "me", "after": ["me"]}
{"command": "true", "resources": {"memory": "0.3"}}
{"command": "true", "resources": {"memory": "9999999E"}}
{"command": "true", "timeout": 0.0001}
{"command": "true", "resources": {"cores": 1.0}}
{"command": "true", "retry": {"error": "2:2h:2:1h"}}
{"command": "true", "begin": "2027-02-30T10:00"}
""".strip().splitlines()
