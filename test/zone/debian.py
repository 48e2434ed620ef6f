"""Debian, the image that is also a vm's, as a zone with systemd. LONG: the image may have to be made."""
import os, shutil, sys, tempfile
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge, until

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)
l = Lodge(work)
ask = lambda *words: l.call("exec", "d", *words)
try:
    c.gives(l.call("image", "build", "--arch", "amd64", "debian", timeout=2400), 0)
    c.gives(l.call("run", "--kind", "zone", "debian", "sh", "-c", "id -u; dpkg -s systemd | grep Status"),
            0, "0\nStatus: install ok installed\n")
    c.gives(l.call("run", "-d", "--kind", "zone", "--name", "d", "debian"), 0)
    state = lambda: ask("systemctl", "is-system-running").out.strip()
    c.check(until(lambda: state() in ("running", "degraded"), 120), "systemd is up", state())
    failed = ask("systemctl", "--failed", "--plain", "--no-legend", "--no-pager").out.split("\n")
    c.check([f for f in failed if f and "systemd-remount-fs" not in f] == [], "what failed", failed)
    c.gives(ask("systemd-run", "--wait", "--pipe", "-q", "id", "-u"), 0, "0\n")
    c.gives(ask("systemctl", "is-active", "ssh"), 0, "active\n")
    c.gives(l.call("stop", "-t", "60", "d", timeout=120), 0)
    c.gives(l.call("wait", "d"), 0, "0\n", "it powers off")
    c.gives(l.call("rm", "d"), 0)
finally:
    for g in l.call("ps", "-aq").out.split():
        l.call("rm", "-f", g)
    shutil.rmtree(work, ignore_errors=True)
c.end()
