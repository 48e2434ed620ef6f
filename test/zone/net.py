"""Networks and volumes of zones."""
import http.server, os, shutil, socket, subprocess, sys, tempfile, threading, urllib.request
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


l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    for part in words, user, lan, volumes:
        part(l)
finally:
    for g in l.call("ps", "-aq").out.split():
        l.call("rm", "-f", g)
    shutil.rmtree(work, ignore_errors=True)
c.end()
