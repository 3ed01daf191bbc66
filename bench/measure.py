#!/usr/bin/env python3
"""Runs a command and prints what it took as one JSON object: seconds, CPU (user and system, with its children), peak
resident memory, exit code, and the command's own output where that is JSON.

    bench/measure.py [--name NAME] -- command arguments...
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def main() -> int:
    name, command = "", sys.argv[1:]
    if command[:1] == ["--name"]:
        name, command = command[1], command[2:]
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        print(__doc__, file=sys.stderr)
        return 64
    # to a file: a pipe nobody reads would stop the command
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    try:
        result = json.loads(text)
    except ValueError:
        result = text[-2000:]
    code = os.waitstatus_to_exitcode(status)
    child.returncode = code
    print(
        json.dumps(
            {
                "what": name or command[0],
                "seconds": seconds,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_rss_mb": usage.ru_maxrss / 1024,
                "exit": code,
                "result": result,
            }
        )
    )
    return 0 if code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
