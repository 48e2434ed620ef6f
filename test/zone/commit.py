"""Images made of zones: podman reads them, and finds what overlayfs shows of the zone's files."""
import hashlib, json, os, shutil, stat, struct, subprocess, sys, tempfile
sys.path.insert(0, os.path.dirname(__file__))
from zones import Count, Lodge, until
from trees import LOOK, MESS, SEEN, attributes, first_id

c = Count()
work = tempfile.mkdtemp(prefix="lodge-zone-")
os.chmod(work, 0o755)
store = os.path.join(work, "store")


def sh(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def pod(*words):
    return sh("podman", "--root", os.path.join(work, "pod"), "--runroot", os.path.join(work, "podrun"), *words)


def look(top, base):
    """All that a layer can carry; ids as the zone has them."""
    seen, links = {}, {}
    for d, dirs, files in os.walk(top):
        for path in [os.path.join(d, n) for n in dirs + files]:
            st, name = os.lstat(path), os.path.relpath(path, top)
            kind = stat.S_IFMT(st.st_mode)
            ids = [x - base if base and base <= x < base + 65536 else x for x in (st.st_uid, st.st_gid)]
            attrs = {k: os.getxattr(path, k, follow_symlinks=False) for k in os.listxattr(path, follow_symlinks=False)
                     if k.startswith("user.") or k == "security.capability"}
            cap = attrs.get("security.capability")
            if cap and len(cap) == 24:
                attrs["security.capability"] = struct.pack("<I", 0x2000001) + cap[4:20]
            what = (hashlib.sha256(open(path, "rb").read()).hexdigest() if kind == stat.S_IFREG else
                    os.readlink(path) if kind == stat.S_IFLNK else "")
            seen[name] = (oct(st.st_mode), ids, what, kind == stat.S_IFREG and int(st.st_mtime), sorted(attrs.items()))
            if kind != stat.S_IFDIR:
                links.setdefault(st.st_ino, []).append(name)
    return seen, sorted(sorted(x) for x in links.values() if len(x) > 1)


def layers(name):
    """Folders of an image's layers, the highest first."""
    arch = os.listdir(os.path.join(store, "images", name))[0]
    im = json.load(open(os.path.join(store, "images", name, arch)))
    return [os.path.join(store, "trees", x["diff"]) for x in reversed(im["layers"])]


def merged(zone, image, base):
    """By this kernel's overlayfs, of the zone's folder and its layers."""
    at = os.path.join(work, "merged")
    os.makedirs(at, exist_ok=True)
    lower = ":".join([os.path.join(store, "guests", zone, "upper")] + layers(image))
    p = sh("mount", "-t", "overlay", "-o", "ro,lowerdir=" + lower, "overlay", at)
    c.check(p.returncode == 0, "overlayfs", p.stderr)
    try:
        return look(at, base)
    finally:
        sh("umount", at)


def podman_sees(tar):
    name = pod("load", "-i", tar).stdout.strip().split(": ")[-1]
    c.check(name, "podman loads it")
    container = pod("create", name, "true").stdout.strip()
    at = pod("mount", container).stdout.strip()
    c.check(os.path.isdir(at), "podman mounts it", (name, container, at))
    seen = look(at, 0)
    about = json.loads(pod("inspect", name).stdout)[0]
    pod("rm", "-f", container)
    for extra in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "run", "dev", "proc", "sys"):
        if seen[0].get(extra, ("", [], None))[2] in ("", hashlib.sha256(b"").hexdigest()):
            seen[0].pop(extra, None)
    return seen, about


def apart(a, b):
    for extra in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "run", "dev", "proc", "sys"):
        a[0].pop(extra, None), b[0].pop(extra, None)
    return [(k, a[0].get(k), b[0].get(k)) for k in sorted(set(a[0]) | set(b[0])) if a[0].get(k) != b[0].get(k)][:4] + \
        ([] if a[1] == b[1] else [a[1], b[1]])


def commit(l):
    c.gives(l.call("run", "-d", "--name", "z", "box", "sleep", "100000"), 0)
    c.gives(l.call("exec", "z", "sh", "-c", MESS), 0)
    c.gives(l.call("commit", "z", "live"), 0, "live\n", "of one that runs")
    c.gives(l.call("exec", "z", "true"), 0)
    c.gives(l.call("kill", "z"), 0)
    base = first_id(l, "z")
    attributes(os.path.join(store, "guests/z/upper"), base)
    c.gives(l.call("commit", "-m", "a note", "-a", "me", "-c", 'CMD ["sh", "-c", "echo $A"]', "--change", "ENV A=b c",
                   "-c", "WORKDIR /data", "-c", "EXPOSE 80", "-c", "LABEL x=y", "-c", "USER joe", "-c",
                   "ENTRYPOINT=[]", "z", "lib/made:2"), 0, "made-2\n")
    for name in "live", "made-2":
        c.gives(l.call("run", "--user", "0", name, "sh", "-c", LOOK), 0, SEEN, "a zone of it")
    c.gives(l.call("run", "made-2"), 0, "b c\n", "as its config says")
    c.gives(l.call("run", "made-2", "sh", "-c", "pwd; id -u"), 0, "/data\n1000\n")
    want = merged("z", "box", base)
    tar = os.path.join(work, "made.tar")
    c.gives(l.call("image", "export", "made-2", tar), 0)
    if not shutil.which("podman"):
        return print("no podman: not asked")
    seen, about = podman_sees(tar)
    c.check(len(seen[0]) > 200 and not apart(want, seen), "podman sees the same", apart(want, seen))
    config = about["Config"]
    c.same([config.get(k) for k in ("Cmd", "WorkingDir", "ExposedPorts", "Labels", "User")],
           [["sh", "-c", "echo $A"], "/data", {"80/tcp": {}}, {"x": "y"}, "joe"], "its config")
    c.check("A=b c" in config["Env"] and "FROM=image" in config["Env"], "its environment", config["Env"])
    c.same(about["Author"], "me", "who made it")
    c.gives(l.call("image", "import", tar, "again"), 0)
    c.gives(l.call("run", "-u", "0", "again", "sh", "-c", LOOK), 0, SEEN, "there and back")


def further(l):
    """A layer over that, with what is gone of it."""
    c.gives(l.call("run", "--name", "y", "-u", "0", "made-2", "sh", "-c",
                   "rm -r /data/a; mkdir /data/a; echo 3 > /data/a/three; rm /home/new; mv /root/three /root/four"), 0)
    c.gives(l.call("commit", "y", "third"), 0)
    c.gives(l.call("run", "-u", "0", "third", "sh", "-c", "cd /; find data/a home root/*"), 0,
            "data/a\ndata/a/three\nhome\nroot/four\n")
    want = merged("y", "made-2", first_id(l, "y"))
    tar = os.path.join(work, "third.tar")
    c.gives(l.call("image", "export", "third", tar), 0)
    if shutil.which("podman"):
        seen, _ = podman_sees(tar)
        c.check(not apart(want, seen), "podman sees the same of three layers", apart(want, seen))
    c.gives(l.call("rm", "y"), 0)


def refused(l):
    for bad in "CMD", "CMD [", "CMD [1]", "ENV A", "NOSUCH x", "LABEL =x":
        c.gives(l.call("commit", "-c", bad, "z", "bad"), 125)
    c.gives(l.call("commit", "z", "Not/A/Name!"), 125)
    c.gives(l.call("commit", "nosuch", "x"), 125)
    c.gives(l.call("run", "--name", "wh", "box", "sh", "-c", "echo > /.wh.etc"), 0)
    p = l.call("commit", "wh", "wh")
    c.check(p.returncode == 125 and ".wh." in p.err, "a name that would take away what it must not", p.err)
    c.gives(l.call("rm", "wh"), 0)
    c.check("bad" not in l.call("image", "ls").out, "there is no such image")


def changed(l):
    """As podman says it of the same commands."""
    do = ("cd /; rm etc/joe-only; echo x >> etc/group; mkdir -p data/new/deep; echo 1 > data/new/deep/f; "
          "rm -r home/joe; ln -s x root/link; chmod 700 tmp; rm bin/zcat; echo no > bin/zcat")
    c.gives(l.call("run", "--name", "d", "box", "sh", "-c", do), 0)
    p = l.call("diff", "d")
    mine = set(p.out.splitlines())
    c.same(mine, {"C /etc", "D /etc/joe-only", "C /etc/group", "C /data", "A /data/new", "A /data/new/deep",
                  "A /data/new/deep/f", "C /home", "D /home/joe", "C /root", "A /root/link", "C /tmp", "C /bin",
                  "C /bin/zcat"}, "what it has changed")
    c.gives(l.call("run", "--name", "o", "box", "sh", "-c",
                   "rm -r /home; mkdir /home; mkdir /home/joe; rm /bin/cat; mkdir /bin/cat; printf x > '/data/a\nb'"), 0)
    p = l.call("diff", "o")
    c.check({"C /home", "C /home/joe", "C /bin/cat", "A /data/a\\x0ab"} <= set(p.out.splitlines()), "hidden, and made again", p.out)
    c.gives(l.call("run", "--name", "h", "box", "sh", "-c", "rm -r /home; mkdir /home"), 0)
    c.same(set(l.call("diff", "h").out.splitlines()), {"C /home", "D /home/joe", "C /etc"}, "what a folder hides")
    for n in "d", "o", "h":
        c.gives(l.call("rm", n), 0)
    if not shutil.which("podman"):
        return print("no podman: not compared")
    tar = os.path.join(work, "box.out.tar")
    c.gives(l.call("image", "export", "box", tar), 0)
    image = pod("load", "-i", tar).stdout.strip().split(": ")[-1]
    # What podman runs containers with is not what is tried: the same program changes its mounted files.
    box = pod("create", image, "true").stdout.strip()
    at = pod("mount", box).stdout.strip()
    subprocess.run(["sh", "-c", do.replace("cd /;", "cd '%s' || exit 1;" % at)], check=True)
    theirs = set(pod("diff", box).stdout.splitlines())
    pod("rm", "-f", box)
    c.check(len(theirs) > 10 and theirs == mine, "as podman says it", sorted(theirs ^ mine))


def rootless():
    name = "lodge-zone-c"
    sh("userdel", "-r", name)
    if sh("useradd", "-m", "-d", os.path.join(work, "user"), name).returncode:
        return print("no user can be made here: not tried")
    try:
        l = Lodge(os.path.join(work, "user"), ["setpriv", "--reuid", name, "--regid", name, "--init-groups"])
        l.program = os.path.join(work, "lodge")
        shutil.copy(os.environ["LODGE"], l.program)
        c.gives(l.import_box(), 0)
        c.gives(l.call("run", "--net", "none", "--name", "r", "box", "sh", "-c", MESS.replace("65535", "999")), 0)
        c.gives(l.call("commit", "r", "made"), 0)
        out = l.call("diff", "r").out.splitlines()
        c.check({"D /etc/joe-only", "C /home", "D /home/joe", "A /data/a"} <= set(out), "a user's diff", out)
        c.gives(l.call("run", "--net", "none", "made", "sh", "-c", LOOK), 0,
                SEEN.replace("65535 65535", "0 0").replace("1000 6", "0 0"), "a user's image, whose files are all his own")
    finally:
        sh("userdel", "-r", name)


l = Lodge(work)
try:
    c.gives(l.import_box(), 0)
    for part in commit, further, refused, changed:
        part(l)
    rootless()
finally:
    pod("umount", "-a"), pod("rmi", "-af")
    sh("umount", os.path.join(work, "pod/overlay"))
    l.end()
c.end()
