"""One machine, in Lodge or in QEMU: the same kernel, initrd, memory, CPUs and devices. It is driven by
its console; what it costs is the CPU time of all its processes as this machine counts it."""
import os
import re
import select
import socket
import subprocess
import time

LIMIT = 300
alive = []
ended = {}


class Dead(Exception):
    """A machine, or a command, that did not do what its figure needs."""


def parents():
    """pid: parent, of all processes there are."""
    all = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                all[int(pid)] = int(f.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return all


def family(*roots):
    """These processes and their descendants."""
    all, found = parents(), set(roots)
    while True:
        more = {p for p, parent in all.items() if parent in found} - found
        if not more:
            return found & set(all)
        found |= more


def cpu_of(pids):
    """CPU seconds of all their threads: clock_getcpuclockid(3), of those that are still there."""
    n = 0
    for p in pids:
        try:
            n += time.clock_gettime((~p << 3) | 2)
        except OSError:
            pass
    return n


def memory_of(pids, key):
    """Bytes of smaps_rollup's key, all of them together."""
    n = 0
    for pid in pids:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            n += 1024 * int(re.search(r"^%s: *(\d+)" % key, f.read(), re.M).group(1))
    return n


class Machine:
    """A process whose standard input and output are a console with a shell."""

    def __init__(self, command, env=None, helpers=()):
        self.text, self.at, self.marks, self.helpers, self.begun = "", 0, 100, helpers, time.monotonic()
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  bufsize=0, env={**os.environ, **(env or {})}, start_new_session=True)
        alive.append(self)

    def expect(self, pattern, limit=LIMIT):
        until, regex = time.monotonic() + limit, re.compile(pattern, re.M)
        while True:
            found = regex.search(self.text, self.at)
            if found:
                self.at = found.end()
                return found
            ready, _, _ = select.select([self.p.stdout], [], [], max(0, until - time.monotonic()))
            data = os.read(self.p.stdout.fileno(), 65536) if ready else b""
            if not data:
                raise Dead("it never said %r; its last words: %s" % (pattern, self.text[-300:]))
            self.text += data.decode("utf-8", "replace").replace("\r", "")

    def type(self, text):
        self.p.stdin.write((text + "\n").encode())

    def run(self, command, limit=LIMIT):
        self.marks += 1
        self.type("echo m''ark-%d; { %s; } 2>&1; echo e''nd-%d-$?" % (self.marks, command, self.marks))
        self.expect(r"mark-%d\n" % self.marks, limit)
        begin = self.at
        end = self.expect(r"end-%d-(\d+)\n" % self.marks, limit)
        said = self.text[begin:end.start()]
        if end.group(1) != "0":
            raise Dead("%s: %s" % (command, said[-300:]))
        return said

    def shell(self):
        self.expect("powers the machine off")
        self.run("true")
        return self

    def settled(self):
        """Its shell has asked the terminal where the cursor is, and has an answer. busybox sleeps 20 ms
        after a line if it has none by then, which no person at a terminal sees."""
        self.expect("\x1b\\[6n", 5)
        self.p.stdin.write(b"\x1b[1;1R")
        time.sleep(0.3)

    def answers(self):
        """Seconds since it was started until its shell has answered. QEMU drops what is typed before the
        guest goes on; so it is typed again and again, to both."""
        self.type("echo it a''nswers")
        while True:
            try:
                self.expect("it answers", 0.02)
                return time.monotonic() - self.begun
            except Dead:
                if self.p.poll() is not None or time.monotonic() > self.begun + 60:
                    raise
                self.type("echo it a''nswers")

    def pids(self):
        return family(self.p.pid, *self.helpers)

    def cost(self, command, limit=LIMIT):
        """(what it said, CPU seconds of the machine)"""
        pids = self.pids()
        before = cpu_of(pids)
        said = self.run(command, limit)
        return said, cpu_of(pids) - before

    def end(self):
        if self in alive:
            alive.remove(self)
        self.p.kill()
        self.p.wait()
        self.p.stdin.close()
        self.p.stdout.close()


def end_all():
    for m in alive[:]:
        m.end()


class Hmp:
    """QEMU's monitor."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        until = time.monotonic() + 10
        while True:
            try:
                self.s.connect(path)
                break
            except OSError:
                if time.monotonic() > until:
                    raise Dead("QEMU's monitor is not there")
                time.sleep(0.01)
        self._prompt()

    def _prompt(self):
        data = b""
        while not data.endswith(b"(qemu) "):
            more = self.s.recv(65536)
            if not more:
                raise Dead("QEMU ended: %r" % data[-200:])
            data += more
        return data.decode("utf-8", "replace")

    def ask(self, line):
        self.s.sendall(line.encode() + b"\n")
        return self._prompt()
