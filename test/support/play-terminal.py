"""Runs a command on a pseudo-terminal and plays a user: python3 play-terminal.py STEPS COMMAND...

STEPS is a JSON list of {"wait": text, "send": text, "pause": seconds, "signal": name}: each step waits until the text
appears after what earlier steps saw, then pauses, types, and sends the signal to the job in the foreground. Prints {"output": ..., "status": ...} as JSON; a step whose text does
not come in time ends the run with "missing".
"""
import json
import os
import pty
import select
import signal
import sys
import time

TIMEOUT = 30.0

steps = json.loads(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])

output = b""
seen = 0


def read_some(timeout):
    """One chunk of output; False at the end."""
    global output
    ready, _, _ = select.select([fd], [], [], timeout)
    if not ready:
        return True
    try:
        chunk = os.read(fd, 65536)
    except OSError:  # Linux: EIO once the other side is closed
        return False
    output += chunk
    return chunk != b""


missing = None
for step in steps:
    text = step.get("wait", "").encode()
    deadline = time.monotonic() + TIMEOUT
    alive = True
    while (found := output.find(text, seen)) < 0 and alive and time.monotonic() < deadline:
        alive = read_some(0.1)
    if found < 0:
        missing = step["wait"]
        os.kill(pid, signal.SIGKILL)
        break
    seen = found + len(text)
    time.sleep(step.get("pause", 0))
    os.write(fd, step.get("send", "").encode())
    if "signal" in step:
        os.killpg(os.tcgetpgrp(fd), signal.Signals[step["signal"]])

deadline = time.monotonic() + TIMEOUT
while read_some(0.1):
    if time.monotonic() > deadline:
        missing = missing or "the end"
        os.kill(pid, signal.SIGKILL)
        break
_, status = os.waitpid(pid, 0)
print(json.dumps({
    "output": output.decode(errors="replace"),
    "status": os.waitstatus_to_exitcode(status),
    "missing": missing,
}))
