"""A zone and a vm in one network: each finds the other by its name. LONG: the vm's image may have to
be made."""
import os, sys, tempfile
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge, until

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)
arch = {"x86_64": "amd64"}.get(os.uname().machine, os.uname().machine)
l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    c.gives(l.call("image", "build", "--arch", arch, "linux", timeout=2400), 0)
    c.gives(l.call("network", "create", "nlan"), 0)
    c.gives(l.call("run", "-d", "--name", "vm", "--arch", arch, "--net", "nlan", "linux"), 0)
    c.gives(l.call("run", "-d", "--name", "zone", "--net", "nlan", "box", "sh", "-c",
                   "mkdir /w; echo from a zone > /w/x; httpd -f -p 80 -h /w"), 0)
    up = lambda: l.call("exec", "vm", "true").returncode == 0
    c.check(until(up, 120), "the vm is up")
    page = lambda: l.call("exec", "vm", "wget", "-qO-", "http://zone.nlan/x").out
    c.check(until(lambda: page() == "from a zone\n", 60), "the vm hears the zone, by name", page())
    short = lambda: l.call("exec", "vm", "wget", "-qO-", "http://zone/x").out
    c.check(until(lambda: short() == "from a zone\n"), "and without the network's", short())
    c.gives(l.call("exec", "vm", "sh", "-c", "mkdir -p /tmp/w; echo from a vm > /tmp/w/x; httpd -p 8000 -h /tmp/w"), 0)
    ask = ("a=$(nslookup vm.nlan | sed -n 's/^Address: *\\(10[.0-9]*\\)$/\\1/p' | tail -n 1); "
           "printf 'GET /x HTTP/1.0\\r\\n\\r\\n' | nc -w 5 $a 8000 | tail -n 1")
    said = lambda: l.call("exec", "zone", "sh", "-c", ask).out
    c.check(until(lambda: said() == "from a vm\n", 60), "the zone hears the vm, by name", said())
finally:
    l.end()
c.end()
