"""Driving a guest from outside, as a person at its console would: start it, wait until it says
something, type, look at how it ended. Nothing here measures time; every wait has a limit, so that
a dead guest fails its test instead of stopping them all."""
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
LODGE = os.environ.get("LODGE") or os.path.join(TOP, os.environ.get("BUILD") or "build", "lodge")
LIMIT = float(os.environ.get("LIMIT") or (1200 if os.environ.get("SAN") else 240))
work = tempfile.mkdtemp(prefix="lodge-e2e.")
passed, failed = 0, 0
alive = []


class Dead(Exception):
    """The guest did not do what the rest of its test needs."""


class Guest:
    def __init__(self, *args, env=None, **who):
        self.args, self.text, self.at, self.marks, self.code = args, "", 0, 100, None
        self.p = subprocess.Popen([LODGE, "run", *args], stdin=subprocess.PIPE, bufsize=0,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env={**os.environ, **(env or {})}, start_new_session=True, **who)
        alive.append(self)

    def _read(self, until):
        ready, _, _ = select.select([self.p.stdout], [], [], max(0, until - time.monotonic()))
        data = os.read(self.p.stdout.fileno(), 65536) if ready else b""
        self.text += data.decode("utf-8", "replace").replace("\r", "").replace("\0", "")
        return bool(data)

    def expect(self, pattern, limit=LIMIT):
        """Wait until a line of what it says, after what was expected last, matches; the limit is for its
        silence, since a host that is shared may be slow, and some times of that for all."""
        began, regex = time.monotonic(), re.compile(pattern, re.M)
        while True:
            found = regex.search(self.text, self.at)
            if found:
                self.at = found.end()
                return found
            now = time.monotonic()
            if now > began + 4 * limit or not self._read(now + limit):
                raise Dead("it never said %r" % pattern)

    def type(self, text, end="\n"):
        try:
            self.p.stdin.write((text + end).encode())
        except BrokenPipeError:
            raise Dead("it is gone")

    def run(self, command, limit=LIMIT):
        """A command's output and status. The echo of what is typed holds no marker: the quotes
        in it are gone only when the guest's shell has worked on them."""
        self.marks += 1
        self.type("echo m''ark-%d; { %s; } 2>&1; echo e''nd-%d-$?" % (self.marks, command, self.marks))
        self.expect(r"mark-%d\n" % self.marks, limit)
        begin = self.at
        end = self.expect(r"end-%d-(\d+)\n" % self.marks, limit)
        return int(end.group(1)), self.text[begin:end.start()]

    def says(self, command, pattern, limit=LIMIT):
        return bool(re.search(pattern, self.run(command, limit)[1], re.M))

    def shell(self):
        self.expect("powers the machine off")
        return self.run("true")[0] == 0

    def end(self, limit=LIMIT):
        until = time.monotonic() + limit
        while self._read(until):
            pass
        try:
            self.code = self.p.wait(max(1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            raise Dead("it did not end")
        finally:
            if self in alive:
                alive.remove(self)
        return self.code

    def kill(self, sig=signal.SIGKILL):
        self.p.send_signal(sig)


def check(what, ok, guest=None):
    global passed, failed
    if ok:
        passed += 1
        return True
    failed += 1
    print("FAILED: %s" % what, flush=True)
    if guest:
        print("\n".join("    | " + l[:160] for l in guest.text.splitlines()[-12:]), flush=True)
    return False


def boots(name, *args, **kw):
    """A guest that reaches its shell, or None."""
    g = Guest(*args, **kw)
    return g if check(name + ": reaches a shell", tried(g.shell), g) else give_up(g)


def tried(fn, *args):
    try:
        return fn(*args)
    except Dead as why:
        print("    %s" % why)
        return False


def give_up(g):
    g.kill()
    tried(g.end)


def ends(name, g, code=0):
    try:
        got = g.end()
    except Dead as why:
        got = why
    check("%s: ends with exit code %d (%s)" % (name, code, got), got == code, g)


def refuses(name, pattern, *args, env=None):
    """lodge run says one sentence that matches and exits with 125."""
    p = subprocess.Popen([LODGE, "run", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    try:
        out, said = p.communicate(timeout=20 if LIMIT < 1000 else 100)
    except subprocess.TimeoutExpired:
        p.kill()
        out, said = p.communicate()
        said = "it runs, and said: " + said
    said = said.strip().removesuffix("\nSee 'lodge run --help'.")
    ok = p.returncode == 125 and said.count("\n") == 0 and re.search(pattern, said) and not out
    check("%s: exit code %d, %r; wanted 125, one line like %r" % (name, p.returncode, (out + said)[-300:], pattern), ok)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Listener(threading.Thread):
    """A server on loopback that greets and then hears one caller to his end."""

    def __init__(self):
        super().__init__(daemon=True)
        self.s, self.heard = socket.create_server(("127.0.0.1", 0)), b""
        self.port = self.s.getsockname()[1]
        self.start()

    def run(self):
        c, _ = self.s.accept()
        c.sendall(b"hello guest\n")
        while b := c.recv(65536):
            self.heard += b
            if self.heard.endswith(b"that is all\n"):
                break
        c.close()


def part(fn):
    """Run one part; a guest that dies in it fails it and spoils no other."""
    try:
        fn()
    except Dead as why:
        check("%s: %s" % (fn.__name__, why), False, alive[-1] if alive else None)
    except Exception as why:
        check("%s: %r" % (fn.__name__, why), False)
    for g in alive[:]:
        give_up(g)


def finish():
    for g in alive:
        g.kill()
    shutil.rmtree(work, ignore_errors=True)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed != 0)
