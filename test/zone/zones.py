"""A lodge with a store of its own, images of busybox in it, and counting."""
import hashlib, json, os, pty, shutil, subprocess, sys, tarfile, tempfile, time

LODGE = os.environ["LODGE"]
BUSYBOX = "/bin/busybox"
PASSWD = "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000:Joe:/home/joe:/bin/sh\n"
GROUP = "root:x:0:root\ndisk:x:6:joe\njoe:x:1000:\n"


class Lodge:
    """Calls of lodge; as: words in front, such as those of setpriv."""

    def __init__(self, home, before=()):
        self.home, self.before = home, list(before)
        self.env = dict(os.environ, LODGE_HOME=os.path.join(home, "store"), HOME=home)
        self.program = LODGE

    def call(self, *words, input=None, timeout=60):
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        p = subprocess.run(self.before + [self.program] + list(words), capture_output=True,
                           env=self.env, timeout=timeout, **stdin)
        p.out, p.err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
        return p

    def terminal(self, *words, timeout=60):
        """On a terminal of 30 lines, 90 columns; what it showed, and its exit code."""
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(self.env)
            words = self.before + [self.program] + list(words)
            os.execvp(words[0], words)
        import fcntl, struct, termios
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        shown = b""
        while True:
            try:
                some = os.read(fd, 4096)
            except OSError:
                some = b""
            if not some:
                break
            shown += some
        _, status = os.waitpid(pid, 0)
        os.close(fd)
        return shown.decode(errors="replace"), os.waitstatus_to_exitcode(status)

    def end(self):
        """Its guests and its folder go."""
        for g in self.call("ps", "-aq").out.split():
            self.call("rm", "-f", g)
        shutil.rmtree(self.home, ignore_errors=True)

    def import_box(self, name="box", **config):
        """An image of busybox, as docker save would write it."""
        archive = os.path.join(self.home, name + ".tar")
        box_make(archive, config)
        os.chmod(archive, 0o644)
        return self.call("image", "import", archive, name)


def add(tar, name, data=None, mode=0o644, kind=tarfile.REGTYPE, link="", uid=0):
    t = tarfile.TarInfo(name)
    t.mode, t.type, t.linkname, t.uid, t.gid = mode, kind, link, uid, uid
    t.size = len(data or b"")
    import io
    tar.addfile(t, io.BytesIO(data) if data is not None else None)


def tree_tar(path):
    with tarfile.open(path, "w") as tar:
        for d in ("bin", "etc", "root", "home", "data"):
            add(tar, d, mode=0o755, kind=tarfile.DIRTYPE)
        add(tar, "tmp", mode=0o1777, kind=tarfile.DIRTYPE)
        add(tar, "home/joe", mode=0o755, kind=tarfile.DIRTYPE, uid=1000)
        add(tar, "bin/busybox", open(BUSYBOX, "rb").read(), 0o755)
        for c in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True).stdout.split():
            if c != "busybox":
                add(tar, "bin/" + c, kind=tarfile.SYMTYPE, link="busybox")
        add(tar, "etc/passwd", PASSWD.encode())
        add(tar, "etc/group", GROUP.encode())
        add(tar, "etc/joe-only", b"joe\n", 0o600, uid=1000)


def box_make(archive, config):
    work = tempfile.mkdtemp()
    layer = os.path.join(work, "layer.tar")
    tree_tar(layer)
    digest = hashlib.sha256(open(layer, "rb").read()).hexdigest()
    usual = {"Env": ["PATH=/bin", "FROM=image"], "Cmd": ["/bin/sh"], "Entrypoint": None}
    usual.update(config)
    arch = {"x86_64": "amd64"}.get(os.uname().machine, os.uname().machine)
    texts = {"config.json": {"architecture": arch, "os": "linux", "config": usual,
                             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}},
             "manifest.json": [{"Config": "config.json", "RepoTags": ["box:latest"],
                                "Layers": ["layer.tar"]}]}
    with tarfile.open(archive, "w") as tar:
        for name, text in texts.items():
            add(tar, name, json.dumps(text).encode())
        tar.add(layer, "layer.tar")
    shutil.rmtree(work)


class Count:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, good, what, shown=None):
        if good:
            self.passed += 1
            return
        self.failed += 1
        print("FAILED: %s%s" % (what, "" if shown is None else ": %r" % (shown,)), flush=True)

    def same(self, is_, wanted, what):
        self.check(is_ == wanted, what, (is_, wanted))

    def gives(self, p, code, out=None, what=""):
        what = what or " ".join(str(a) for a in p.args[-5:])
        self.check(p.returncode == code, "%s: exit code" % what, (p.returncode, p.out, p.err))
        if out is not None:
            self.check(p.out == out, "%s: output" % what, (p.out, out, p.err))

    def end(self):
        print("%d passed, %d failed" % (self.passed, self.failed))
        sys.exit(self.failed > 0)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
