"""A program that runs in a zone as root, with all that a zone is given, and tries to get out: escape.c."""
import os, shutil, socket, subprocess, sys, tempfile
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)
here = os.path.dirname(os.path.abspath(__file__))
program = os.path.join(work, "escape")


def canaries():
    """Of the host: a process, a file, a socket, shared memory, a disk."""
    global sleeper, listener, key
    sleeper = subprocess.Popen(["sleep", "1000"])
    open(os.path.join(work, "canary"), "w").write("seen\n")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0lodge-canary-%d" % os.getpid())
    listener.listen()
    key = 0x10d6e000 + os.getpid() % 4096
    subprocess.run(["ipcrm", "-M", str(key)], capture_output=True)
    made = subprocess.run([sys.executable, "-c", "import ctypes; ctypes.CDLL(None).shmget(%d, 4096, 0o1666)" % key])
    d = os.stat("/").st_dev
    return [str(sleeper.pid), os.path.join(work, "canary"), "lodge-canary-%d" % os.getpid(), str(key),
            "%d:%d" % (os.major(d), os.minor(d))]


def tried(l, what, *words):
    p = l.call(*words)
    last = p.out.splitlines()[-1:] or [p.err]
    c.check(p.returncode == 0 and last[0].endswith(", 0 fell"), what,
            [x for x in p.out.splitlines() if "FELL" in x] or (p.returncode, p.out, p.err))


cc = subprocess.run(["cc", "-O1", "-static", "-o", program, os.path.join(here, "escape.c")])
c.check(cc.returncode == 0, "escape.c compiles")
os.environ["LODGE_CANARY"] = "seen"
l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    known = canaries()
    p = l.call("run", "-v", program + ":/escape:ro", "box", "/escape", "1", "/etc/passwd", *known[2:])
    c.check(p.out.count("FELL") == 4, "what is there it finds", p.out)
    box = ["-v", program + ":/escape:ro", "box", "/escape"] + known
    tried(l, "from a zone", "run", *box)
    tried(l, "with root's ids", "run", "--userns", "host", *box)
    tried(l, "in the host's network but for its sockets", "run", "--net", "host", "--userns", "auto",
          "-v", program + ":/escape:ro", "box", "/escape", *known[:2], "no-socket", *known[3:])
    c.gives(l.call("run", "-d", "--name", "e", "-v", program + ":/escape:ro", "box", "sleep", "1000"), 0)
    tried(l, "from a session", "exec", "e", "/escape", *known)
finally:
    for g in l.call("ps", "-aq").out.split():
        l.call("rm", "-f", g)
    sleeper.kill()
    subprocess.run(["ipcrm", "-M", str(key)], capture_output=True)
    shutil.rmtree(work, ignore_errors=True)
c.end()
