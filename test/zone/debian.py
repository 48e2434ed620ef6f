"""Debian, the image that is also a vm's, as a zone with systemd. LONG: the image may have to be made."""
import os, sys, tempfile
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
    c.gives(l.import_box(), 0)
    c.gives(l.call("network", "create", "dlan"), 0)
    c.gives(l.call("run", "-d", "--name", "other", "--net", "dlan", "box", "sh", "-c",
                   "mkdir /w; echo hello > /w/x; httpd -f -p 80 -h /w"), 0)
    c.gives(l.call("run", "-d", "--kind", "zone", "--name", "d", "--net", "dlan", "debian"), 0)
    state = lambda: ask("systemctl", "is-system-running").out.strip()
    c.check(until(lambda: state() in ("running", "degraded"), 120), "systemd is up", state())
    failed = ask("systemctl", "--failed", "--plain", "--no-legend", "--no-pager").out.split("\n")
    c.check([f for f in failed if f] == [], "what failed", failed)
    c.same(state(), "running", "nothing has")
    c.gives(ask("cat", "/etc/fstab"), 0, "", "the computer's file systems are not the zone's")
    # by glibc, /etc/resolv.conf, and systemd-resolved; and by that alone
    for asks in ["getent", "ahostsv4", "other.dlan"], ["getent", "ahostsv4", "other"], ["resolvectl", "query", "other.dlan"]:
        c.check(until(lambda: "10." in ask(*asks).out, 30), "DNS: " + " ".join(asks), (ask(*asks).out, ask(*asks).err))
    c.check("127.0.0.53" in ask("cat", "/etc/resolv.conf").out, "resolved is asked")
    c.gives(ask("bash", "-c", "exec 3<>/dev/tcp/other.dlan/80; printf 'GET /x HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3"), 0, "hello\n")
    c.gives(ask("systemd-run", "--wait", "--pipe", "-q", "id", "-u"), 0, "0\n")
    c.gives(ask("systemctl", "is-active", "ssh"), 0, "active\n")
    c.gives(l.call("stop", "-t", "60", "d", timeout=120), 0)
    c.gives(l.call("wait", "d"), 0, "0\n", "it powers off")
    c.gives(l.call("rm", "d"), 0)
finally:
    l.end()
c.end()
