"""A database in a Debian guest, with a client that commits without pause and says so. What it said is
there afterwards: when the monitor is killed as it writes, when the guest is restored from a snapshot (as
of then), when it has moved, and when that monitor is killed, too."""
import os
import re
import shutil
import signal
import subprocess
import time

import move
from guest import LODGE, check, finish, give_up, part, work
from move import Kept, at, state, works

HOME, B = os.environ["LODGE_HOME"], work + "/b"
FOLDER = work + "/folder"
move.LIMIT = 600
WRITE = "/x/database /root/db /x/%s"


def told(file):
    try:
        with open(FOLDER + "/" + file) as f:
            return int(f.read().split()[0])
    except (OSError, IndexError):
        return 0


def grows(what, file):
    """The client commits."""
    before, until = told(file), time.monotonic() + 120
    while told(file) < before + 20 and time.monotonic() < until:
        time.sleep(0.2)
    check("%s: it commits: %d" % (what, told(file)), told(file) >= before + 20)


def console(home, what, booted):
    g = Kept(home, "db")
    if booted:
        g.expect("login: ", 600)
        g.type("root")
        g.expect(r"root@\S+:~# ", 600)
    g.type("bind 'set enable-bracketed-paste off'; export TERM=dumb")
    return g if check(what + ": a shell", g.run("true", 600)[0] == 0, g) else None


def whole(what, g, least):
    """All that was told is there, and nothing is between."""
    said = g.run("/x/database /root/db", 600)[1]
    print("    %s: %s; told %d" % (what, " ".join(said.split()), least), flush=True)
    check(what + ": the file is whole", re.search(r"integrity ok\ngaps 0\nsum 0\nthere \d+", said), g)
    there = re.search(r"there (\d+)", said)
    check(what + ": nothing is lost", there and int(there.group(1)) >= least, g)


def kill(home):
    os.kill(state(home, "db")["pid"], signal.SIGKILL)
    while state(home, "db")["state"] == "running":
        time.sleep(0.1)


def database():
    os.makedirs(FOLDER)
    shutil.copy(os.environ["DATABASE"], FOLDER + "/database")
    works("run", HOME, "run", "-d", "--name", "db", "--arch", os.environ["ARCH"], "-m", "512M", "--net", "none", "-v",
          FOLDER + ":/x", "debian")
    g = console(HOME, "run", True)
    if not g:
        return
    g.run("(%s & ) </dev/null >/dev/null 2>&1" % (WRITE % "told"))
    for n in 1, 2:
        what = "killed, %d" % n
        grows(what, "told")
        kill(HOME)
        least = told("told")
        give_up(g)
        works(what, HOME, "start", "db")
        g = console(HOME, what, True)
        if not g:
            return
        whole(what, g, least)
        g.run("(%s & ) </dev/null >/dev/null 2>&1" % (WRITE % "told"))
    grows("restored", "told")
    before = told("told")
    works("restored", HOME, "snapshot", "db", "t")
    after = told("told")
    grows("restored", "told")
    give_up(g)
    works("restored", HOME, "restore", "db", "t")
    print("    restored: told %d before the snapshot, %d after it" % (before, after), flush=True)
    grows("restored: its client", "told")
    g = console(HOME, "restored", False)
    if not g:
        return
    whole("restored", g, before)
    give_up(g)
    for a, b in (HOME, B), (B, HOME):
        grows("moved", "told")
        works("moved", a, "move", "db", "--to-store", b)
        least = told("told")
        grows("moved: its client", "told")
        g = console(b, "moved", False)
        if not g:
            return
        whole("moved", g, least)
        give_up(g)
        if b == B:
            works("moved", a, "rm", "db")  # and with it its snapshots, so that it can come back
    grows("moved and killed", "told")
    kill(HOME)
    least = told("told")
    works("moved and killed", HOME, "start", "db")
    g = console(HOME, "moved and killed", True)
    if g:
        whole("moved and killed", g, least)


if __name__ == "__main__":
    part(database)
    for home in HOME, B:
        subprocess.run([LODGE, "rm", "-f", "db"], env={**os.environ, "LODGE_HOME": home}, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    finish()
