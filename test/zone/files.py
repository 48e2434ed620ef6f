"""Zones' own files: clones and snapshots of them, as a walk over both by other means sees it."""
import json, os, shutil, socket, subprocess, sys, tempfile
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge, until
from trees import LOOK, MESS, SEEN, attributes, differ, first_id, tree

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)
guests = os.path.join(work, "store/guests")

def folder(name):
    return os.path.join(guests, name)


def mess(l, name, *options):
    c.gives(l.call("run", "-d", "--name", name, *options, "box", "sleep", "100000"), 0)
    c.gives(l.call("exec", name, "sh", "-c", MESS), 0)


def same_trees(l, a, b, what):
    one = tree(os.path.join(folder(a), "upper"), first_id(l, a))
    two = tree(os.path.join(folder(b), "upper"), first_id(l, b))
    c.check(one == two, what, differ(one, two))
    c.check(first_id(l, a) != first_id(l, b), "%s: ids of its own" % what)
    return one


def clone(l):
    mess(l, "z")
    c.gives(l.call("clone", "z", "live"), 0, "live\n")
    c.check(until(lambda: state(l, "z") == "running"), "it goes on")
    c.gives(l.call("kill", "z"), 0)
    same_trees(l, "z", "live", "a clone of a running zone")
    attributes(os.path.join(folder("z"), "upper"), first_id(l, "z"))
    c.gives(l.call("clone", "z", "still"), 0, "still\n")
    seen, links = same_trees(l, "z", "still", "a clone of one that does not run")
    c.check(len(links) == 1 and len(links[0]) == 3, "hard links", links)
    c.check(seen["data/sparse"][6] and seen["etc/joe-only"][3] == 0 and
            ("trusted.overlay.opaque", b"y") in seen["home"][5], "holes, and what is gone", seen["home"])
    for name in "live", "still":
        c.gives(l.call("start", name), 0)
        c.gives(l.call("exec", name, "sh", "-c", LOOK), 0, SEEN, "as the zone sees it")
        c.gives(l.call("exec", name, "hostname"), 0, name + "\n")
    c.gives(l.call("exec", "live", "sh", "-c", "echo more >> /data/a/one; rm /data/tool"), 0)
    c.gives(l.call("start", "z"), 0)
    c.gives(l.call("exec", "z", "sh", "-c", LOOK), 0, SEEN, "the first is another one")
    c.gives(l.call("clone", "z", "live"), 125)
    c.gives(l.call("clone", "nosuch", "x"), 125)
    c.gives(l.call("create", "--name", "never", "box", "true"), 0)
    c.gives(l.call("clone", "--start", "never", "never2"), 0)
    c.gives(l.call("wait", "never2"), 0, "0\n", "one that has no files yet")
    for name in "live", "still", "never", "never2":
        c.gives(l.call("rm", "-f", name), 0)


def state(l, name):
    return json.loads(l.call("inspect", name).out)[0]["state"]


def hold(l, name):
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.path.join(work, "store/run", name))
    s.sendall(b"hold\n")
    c.check(s.recv(4096).startswith(b"{") and state(l, name) == "paused", "it stands")
    return s


def held(l):
    """Who copies may be killed: the zone goes on, and a copy of one that went on is none."""
    hold(l, "z").close()
    c.check(until(lambda: state(l, "z") == "running"), "it goes on when who held it is gone")
    a, b = hold(l, "z"), hold(l, "z")
    a.close()
    c.same(state(l, "z"), "paused", "there is another one")
    c.gives(l.call("resume", "z"), 0)
    c.same(b.recv(1), b"", "who held it knows")
    c.gives(l.call("pause", "z"), 0)
    hold(l, "z").close()
    c.gives(l.call("clone", "z", "of-paused"), 0)
    c.same(state(l, "z"), "paused", "one that was paused stays so")
    c.gives(l.call("resume", "z"), 0)
    s = hold(l, "z")
    c.gives(l.call("kill", "z"), 0)
    s.close()
    c.gives(l.call("rm", "of-paused"), 0)
    c.gives(l.call("start", "z"), 0)


def snapshots(l):
    up = os.path.join(folder("z"), "upper")
    c.gives(l.call("snapshot", "z", "one"), 0, "one\n")
    c.check(until(lambda: state(l, "z") == "running"), "it goes on")
    c.gives(l.call("kill", "z"), 0)
    then = tree(up, 0)
    same = tree(os.path.join(folder("z"), "snapshots/one/upper"), 0)
    c.check(then == same, "a snapshot", differ(then, same))
    c.gives(l.call("start", "z"), 0)
    c.gives(l.call("exec", "z", "sh", "-c", "rm -r /data/a; echo two > /data/two; echo x > /etc/joe-only"), 0)
    c.gives(l.call("kill", "z"), 0)
    now = tree(up, 0)
    c.gives(l.call("snapshot", "z", "one"), 125)
    c.gives(l.call("snapshot", "z", "two"), 0, "two\n", "of one that does not run")
    p = l.call("snapshot", "ls", "z").out.split("\n")
    c.check(p[1].startswith("one ") and p[2].startswith("two ") and p[2].rstrip().endswith("one"), "listed", p)
    c.check("M" in p[1] and "M" in p[2], "with their sizes", p)
    c.gives(l.call("snapshot", "tree", "z"), 0, "one\n  two\n")
    c.gives(l.call("restore", "z", "one"), 0, "z\n")
    c.check(tree(up, 0) == then, "restored", differ(tree(up, 0), then))
    c.same(state(l, "z"), "exited", "it did not run, and does not")
    c.gives(l.call("start", "z"), 0)
    c.gives(l.call("restore", "z", "two"), 0, "z\n")
    c.same(state(l, "z"), "running", "one that ran runs")
    c.gives(l.call("exec", "z", "cat", "/data/two", "/etc/joe-only"), 0, "two\nx\n")
    c.gives(l.call("clone", "--tag", "one", "z", "of-one"), 0)
    c.gives(l.call("kill", "z"), 0)
    other = tree(os.path.join(folder("of-one"), "upper"), first_id(l, "of-one"))
    was = tree(os.path.join(folder("z"), "snapshots/one/upper"), first_id(l, "z"))
    c.check(other == was, "a clone of a snapshot", differ(other, was))
    c.gives(l.call("rm", "of-one"), 0)
    return then, now


def killed(l, then, now):
    """Restoring, killed at every place that counts: what was, or what is to be."""
    up = os.path.join(folder("z"), "upper")
    c.gives(l.call("restore", "z", "two"), 0)
    now = tree(up, 0)
    seen = set()
    for at in range(1, 80):
        l.env["LODGE_KILL_AT"] = str(at)
        p = l.call("restore", "z", "one")
        del l.env["LODGE_KILL_AT"]
        is_ = tree(up, 0)
        c.check(is_ in (then, now), "killed at %d" % at, differ(is_, then))
        seen.add(is_ == then)
        if p.returncode >= 0:
            break
        c.gives(l.call("restore", "z", "two"), 0)
    c.check(p.returncode == 0 and seen == {True, False}, "killed at all places", (at, seen))
    c.check(not [n for n in os.listdir(folder("z")) if n.startswith("upper.")], "nothing is left")
    for at in range(1, 40):
        l.env["LODGE_KILL_AT"] = str(at)
        p = l.call("snapshot", "z", "three")
        del l.env["LODGE_KILL_AT"]
        tags = [x.split()[0] for x in l.call("snapshot", "ls", "z").out.splitlines()[1:]]
        c.check(tags in (["one", "two"], ["one", "two", "three"]), "killed at %d: listed" % at, tags)
        if "three" in tags:
            got = tree(os.path.join(folder("z"), "snapshots/three/upper"), 0)
            c.check(got == then, "killed at %d: it is whole" % at, differ(got, then))
            c.gives(l.call("snapshot", "rm", "z", "three"), 0)
        if p.returncode >= 0:
            break
    c.same(p.returncode, 0, "saved at last")
    c.gives(l.call("snapshot", "z", "four"), 0)
    c.check(not [n for n in os.listdir(os.path.join(folder("z"), "snapshots")) if n.startswith(".")],
            "drafts of the killed are gone", os.listdir(os.path.join(folder("z"), "snapshots")))
    c.gives(l.call("snapshot", "rm", "z", "one", "two", "four"), 0, "one\ntwo\nfour\n")
    c.gives(l.call("rm", "z"), 0)


def storage(l):
    """In a file system of their own, mounted and not."""
    mess(l, "s", "--storage", "64M")
    c.gives(l.call("clone", "s", "s2"), 0)
    c.gives(l.call("snapshot", "s", "one"), 0)
    c.gives(l.call("kill", "s"), 0)
    c.gives(l.call("clone", "s", "s3"), 0)
    for name in "s2", "s3":
        c.gives(l.call("start", name), 0)
        c.gives(l.call("exec", name, "sh", "-c", LOOK), 0, SEEN, "a clone with storage")
        c.gives(l.call("exec", name, "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=100 2>&1 | grep -o 'No space'"),
                0, "No space\n", "that has its size")
    c.gives(l.call("start", "s"), 0)
    c.gives(l.call("exec", "s", "sh", "-c", "rm -r /data/*; echo no > /root/three"), 0)
    c.gives(l.call("restore", "s", "one"), 0)
    c.gives(l.call("exec", "s", "sh", "-c", LOOK), 0, SEEN, "restored, with storage")
    for name in "s", "s2", "s3":
        c.gives(l.call("rm", "-f", name), 0)
    loops = lambda: work in subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout
    c.check(until(lambda: not loops()), "no loop device is left")


def deep(l):
    """Folders in folders, more than anybody can copy, are refused in words, and removed."""
    c.gives(l.call("run", "--name", "deep", "box", "sh", "-c",
                   "i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done"), 0)
    p = l.call("clone", "deep", "deep2")
    c.check(p.returncode == 125 and "too deep" in p.err, "too deep", p.err)
    c.check(not os.path.exists(folder("deep2")), "and nothing is left")
    c.gives(l.call("rm", "deep"), 0)


def host_ids(l):
    c.gives(l.call("run", "--name", "h", "--userns", "host", "box", "sh", "-c", "touch /x; chown 5:6 /x"), 0)
    c.gives(l.call("clone", "h", "h2"), 0)
    st = os.stat(os.path.join(folder("h2"), "upper/x"))
    c.same((st.st_uid, st.st_gid), (5, 6), "the host's ids stay")
    for name in "h", "h2":
        c.gives(l.call("rm", name), 0)


def rootless():
    name = "lodge-zone-f"
    subprocess.run(["userdel", "-r", name], capture_output=True)
    if subprocess.run(["useradd", "-m", "-d", os.path.join(work, "user"), name]).returncode:
        return print("no user can be made here: not tried")
    try:
        l = Lodge(os.path.join(work, "user"), ["setpriv", "--reuid", name, "--regid", name, "--init-groups"])
        l.program = os.path.join(work, "lodge")
        shutil.copy(os.environ["LODGE"], l.program)
        c.gives(l.import_box(), 0)
        c.gives(l.call("run", "-d", "--net", "none", "--name", "r", "box", "sleep", "100000"), 0)
        c.gives(l.call("exec", "r", "sh", "-c", MESS.replace("65535", "999")), 0)
        look, seen = LOOK, SEEN.replace("65535", "999")
        c.gives(l.call("exec", "r", "sh", "-c", look), 0, seen, "a user's")
        p = l.call("clone", "r", "r2")
        c.check(p.returncode == 0 or "frozen" in p.err and "stop it" in p.err, "a user's that runs", p.err)
        l.call("rm", "r2")
        c.gives(l.call("kill", "r"), 0)
        c.gives(l.call("snapshot", "r", "one"), 0)
        c.gives(l.call("clone", "r", "r2"), 0)
        c.gives(l.call("start", "r"), 0)
        c.gives(l.call("start", "r2"), 0)
        c.gives(l.call("exec", "r2", "sh", "-c", look), 0, seen, "a user's clone")
        c.gives(l.call("exec", "r2", "sh", "-c", "rm -r /data/*; touch /root/new"), 0)
        c.gives(l.call("kill", "r2"), 0)
        c.gives(l.call("snapshot", "r2", "one"), 0)
        c.gives(l.call("snapshot", "rm", "r2", "one"), 0)
        c.gives(l.call("exec", "r", "rm", "/root/three"), 0)
        c.gives(l.call("restore", "r", "one"), 0)
        c.gives(l.call("exec", "r", "sh", "-c", look), 0, seen, "a user's, restored")
        for n in "r", "r2":
            c.gives(l.call("rm", "-f", n), 0)
        c.check(not [n for n in os.listdir(os.path.join(l.home, "store/guests")) if n[0] != "."], "nothing is left")
    finally:
        subprocess.run(["userdel", "-r", name], capture_output=True)


l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    clone(l)
    held(l)
    killed(l, *snapshots(l))
    for part in storage, deep, host_ids:
        part(l)
    rootless()
finally:
    l.end()
c.end()
