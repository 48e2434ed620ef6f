"""cut.py MODE N PIDFILE -- PROGRAM...: run it, and pass its input and output on; after N bytes in MODE's
direction (in, out) end as a link that is cut, or kill the program (kill), or go silent (hang)."""
import os
import select
import signal
import subprocess
import sys

mode, n, args = sys.argv[1], int(sys.argv[2]), sys.argv[sys.argv.index("--") + 1:]
p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
open(sys.argv[3], "w").write(str(p.pid))
passed = {"in": 0, "out": 0}
ends = {0: ("in", p.stdin.fileno()), p.stdout.fileno(): ("out", 1)}
while True:
    for fd in select.select(list(ends), [], [])[0]:
        way, to = ends[fd]
        data = os.read(fd, 65536)
        counted = "out" if mode == "out" else "in"
        if way == counted and n >= 0 and passed[way] + len(data) >= n:
            data = data[:n - passed[way]]
            if data:
                os.write(to, data)
            if mode == "kill":
                for pid in reversed(subprocess.run(["pgrep", "-P", str(p.pid)], stdout=subprocess.PIPE, text=True).stdout.split()):
                    os.kill(int(pid), signal.SIGKILL)
                p.kill()
            sys.exit(1)
        passed[way] += len(data)
        if not data:
            if way == "in":
                p.stdin.close()
                del ends[fd]
                continue
            sys.exit(0)
        try:
            while data:
                data = data[os.write(to, data):]
        except OSError:
            sys.exit(1)
