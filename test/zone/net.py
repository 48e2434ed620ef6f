"""Networks and volumes of zones."""
import http.server, json, os, socket, subprocess, sys, tempfile, threading, time, urllib.request
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge, until

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)
SERVE = "mkdir /w; echo %s > /w/x; httpd -f -p 80 -h /w"


# The static busybox's wget asks the C library for names, which it has not.
GET = "printf 'GET /x HTTP/1.0\\r\\n\\r\\n' | nc -w 5 %s | tr -d '\\r'"


def free_port():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
    s.close()
    return port


def fetched(port):
    try:
        return urllib.request.urlopen("http://127.0.0.1:%d/x" % port, timeout=2).read().decode()
    except OSError as e:
        return str(e)


def words(l):
    links = lambda p: sorted(x.split(":")[1].strip().split("@")[0] for x in p.out.splitlines())
    c.same(links(l.call("run", "--net", "none", "box", "ip", "-o", "link")), ["lo"], "none")
    c.same(links(l.call("run", "box", "ip", "-o", "link")), ["eth0", "lo"], "user")
    own = subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True).stdout
    c.gives(l.call("run", "--net", "host", "box", "readlink", "/proc/self/ns/net"), 0, own)
    c.gives(l.call("run", "--net", "nosuch", "box", "true"), 125)
    c.gives(l.call("run", "--net", "none", "-p", "1:1", "box", "true"), 125)


def user(l):
    """Out through the NAT, and in by a published port."""
    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the host\n")

        def log_message(self, *a):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    p = l.call("run", "box", "sh", "-c", GET % ("10.0.2.2 %d" % server.server_port))
    c.check(p.out.endswith("from the host\n"), "out through the NAT", (p.out, p.err))
    server.shutdown()
    port = free_port()
    c.gives(l.call("run", "-d", "--name", "pub", "-p", "%d:80" % port, "box", "sh", "-c", SERVE % "pub"), 0)
    c.check(until(lambda: fetched(port) == "pub\n"), "a published port", fetched(port))
    c.gives(l.call("rm", "-f", "pub"), 0)


def lan(l):
    """Zones in a network that vms may be in, too: by name, each with its own port 80."""
    port = free_port()
    c.gives(l.call("network", "create", "zlan"), 0)
    c.gives(l.call("run", "-d", "--name", "one", "--net", "zlan", "box", "sh", "-c", SERVE % "one"), 0)
    c.gives(l.call("run", "-d", "--name", "two", "--net", "zlan", "-p", "%d:80" % port, "box", "sh",
                   "-c", SERVE % "two"), 0)
    ask = ("a=$(nslookup %s | sed -n 's/^Address: *\\(10[.0-9]*\\)$/\\1/p' | tail -n 1); " + GET % "$a 80")
    said = lambda g, name: l.call("exec", g, "sh", "-c", ask % name).out.split("\n\n")[-1]
    c.check(until(lambda: said("one", "two.zlan") == "two\n"), "one hears two, by name", said("one", "two.zlan"))
    c.check(until(lambda: said("two", "one.zlan") == "one\n"), "two hears one, by name", said("two", "one.zlan"))
    c.check(until(lambda: fetched(port) == "two\n"), "and the host by a port", fetched(port))
    c.check('"one"' in l.call("network", "inspect", "zlan").out, "the network knows them")
    hosts = l.call("exec", "one", "cat", "/etc/hosts", "/etc/resolv.conf").out
    c.check("\tone\n" in hosts and "nameserver 10." in hosts and "search zlan" in hosts, "it is told", hosts)
    for n in "one", "two":
        c.gives(l.call("rm", "-f", n), 0)
    c.check(until(lambda: l.call("network", "rm", "zlan").returncode == 0), "the network goes")


def volumes(l):
    folder, file = os.path.join(work, "shared"), os.path.join(work, "one-file")
    os.mkdir(folder)
    open(os.path.join(folder, "there"), "w").write("there\n")
    open(file, "w").write("a file\n")
    os.symlink("/etc/shadow", os.path.join(folder, "link"))
    p = l.call("run", "-v", folder + ":/mnt/v", "-v", file + ":/etc/one:ro", "box", "sh", "-c",
               "cat /mnt/v/there /etc/one; echo new > /mnt/v/new; stat -c %u /mnt/v/there; "
               "echo no > /etc/one; cat /mnt/v/link")
    c.check(p.out == "there\na file\n0\n", "folders and files", (p.out, p.err))
    c.check("Read-only" in p.err and "No such file" in p.err, "read-only, and links stay inside", p.err)
    c.same(open(os.path.join(folder, "new")).read(), "new\n", "what it wrote is here")
    c.same(os.stat(os.path.join(folder, "new")).st_uid, os.getuid(), "and ours: ids are mapped")
    p = l.call("run", "-v", folder + ":/mnt:ro", "box", "touch", "/mnt/x")
    c.check(p.returncode and not os.path.exists(os.path.join(folder, "x")), "a folder that is read-only")
    for i in "once", "twice":
        c.gives(l.call("run", "-v", "data:/data", "box", "sh", "-c", "echo %s >> /data/log; cat /data/log" % i),
                0, "once\n" if i == "once" else "once\ntwice\n")
    c.gives(l.call("volume", "rm", "data"), 0)
    c.gives(l.call("run", "-v", "/no/such/folder:/mnt", "box", "true"), 125)
    c.same([n for n in os.listdir(os.path.join(work, "store/guests")) if n.startswith("unnamed")], [],
           "nothing is left")


def ip(*words):
    return subprocess.run(("ip",) + words, capture_output=True, text=True)


def taken(address, what):
    """The page at that address, by this host."""
    try:
        return urllib.request.urlopen("http://%s/x" % address, timeout=2).read().decode()
    except OSError as e:
        return str(e)


def bridged(l):
    """Cards at a bridge and a tap of this machine; in a network of their own, if one can be had."""
    bridge, tap = "lobr%d" % (os.getpid() % 100000), "lotp%d" % (os.getpid() % 100000)
    if ip("link", "add", bridge, "type", "bridge").returncode:
        return print("no bridges here: not tried")
    try:
        ip("addr", "add", "198.18.77.1/24", "dev", bridge), ip("link", "set", bridge, "up")
        for n, a in ("one", "5"), ("two", "6"):
            c.gives(l.call("run", "-d", "--name", n, "--net", "bridge:" + bridge, "--ip", "198.18.77.%s/24,198.18.77.1" % a,
                           "box", "sh", "-c", SERVE % n), 0)
        c.check(until(lambda: taken("198.18.77.5", "one") == "one\n"), "the host hears one", taken("198.18.77.5", "one"))
        said = lambda: l.call("exec", "one", "sh", "-c", GET % "198.18.77.6 80").out.split("\n\n")[-1]
        c.check(until(lambda: said() == "two\n"), "one hears two", said())
        c.check("default via 198.18.77.1 dev eth0" in l.call("exec", "one", "ip", "route").out, "a way out")
        c.same(l.call("exec", "one", "cat", "/etc/resolv.conf").out, open("/etc/resolv.conf").read(), "names as here")
        c.check("198.18.77.5\tone" in l.call("exec", "one", "cat", "/etc/hosts").out, "its own name")
        mac = json.loads(l.call("inspect", "one").out)[0].get("mac") or \
            l.call("exec", "one", "cat", "/sys/class/net/eth0/address").out.strip()
        m = [int(x, 16) for x in (mac[0] if isinstance(mac, list) else mac).split(":")]
        own = "fe80::%x:%x:%x:%x" % ((m[0] ^ 2) << 8 | m[1], m[2] << 8 | 0xff, 0xfe00 | m[3], m[4] << 8 | m[5])
        c.check(own in l.call("exec", "one", "ip", "-6", "addr").out, "IPv6 by its own MAC", (own, l.call("exec", "one", "ip", "-6", "addr").out))
        c.same(len([x for x in ip("link", "show", "master", bridge).stdout.splitlines() if "master" in x]), 2, "two cards at it")
        for n in "one", "two":
            c.gives(l.call("rm", "-f", n), 0)
        c.check(until(lambda: "master" not in ip("link", "show", "master", bridge).stdout), "and none afterwards")
        ip("tuntap", "add", "dev", tap, "mode", "tap")
        ip("addr", "add", "198.18.78.1/24", "dev", tap), ip("link", "set", tap, "up")
        c.gives(l.call("run", "-d", "--name", "t", "--net", "tap:" + tap, "--ip", "198.18.78.5/24", "box", "sh", "-c", SERVE % "t"), 0)
        c.check(until(lambda: taken("198.18.78.5", "t") == "t\n"), "by a tap", taken("198.18.78.5", "t"))
        c.check("default" not in l.call("exec", "t", "ip", "route").out, "no way out was asked for")
        c.gives(l.call("stop", "-t", "0", "t"), 0)
        c.gives(l.call("start", "t"), 0)
        c.check(until(lambda: taken("198.18.78.5", "t") == "t\n"), "the same at the next start", taken("198.18.78.5", "t"))
        c.gives(l.call("rm", "-f", "t"), 0)
        c.gives(l.call("run", "--net", "bridge:nosuchbridge", "box", "true"), 125)
        c.gives(l.call("run", "--ip", "10.9.9.9/24", "box", "true"), 125)
        for bad in "10.0.0.0/24", "10.0.0.255/24", "10.0.0.5", "10.0.0.5/33", "10.0.0.5/24,10.0.1.1", "10.0.0.5/24,", "x/24":
            c.gives(l.call("run", "--net", "bridge:" + bridge, "--ip", bad, "box", "true"), 125)
    finally:
        ip("link", "del", bridge), ip("link", "del", tap)


def capped(l):
    """--cap-rate holds each way: what is more than it may be in that time takes longer."""
    class Count(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 1000000)

        def do_POST(self):
            n = len(self.rfile.read(1000000))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"%d\n" % n)

        def log_message(self, *a):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Count)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = "10.0.2.2 %d" % server.server_port
    down = "printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 30 %s | wc -c" % at
    up = "(printf 'POST / HTTP/1.0\r\nContent-Length: 1000000\r\n\r\n'; head -c 1000000 /dev/zero) | nc -w 30 %s | tail -n 1" % at
    for what, least in (down, 1000000), (up, 1000000):
        began = time.monotonic()
        p = l.call("run", "--cap-rate", "4M", "box", "sh", "-c", what)
        took = time.monotonic() - began
        c.check(p.returncode == 0 and int(p.out or 0) >= least, "all of it comes", (p.out, p.err))
        c.check(took > 1.4, "eight million bits at four a second", took)
    server.shutdown()


l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    for part in words, user, lan, bridged, capped, volumes:
        part(l)
finally:
    l.end()
c.end()
