"""What a zone may write, and how that looks from this host."""
import hashlib, json, os, stat, struct

# All that a program of a zone can leave behind.
MESS = r"""
mkdir -p /data/a/b/c && cd /data && echo one > a/one && ln a/one a/b/two && ln a/one /root/three
ln -s ../nowhere a/link; mkfifo a/fifo; printf 'x%.0s' 1 2 3 > a/b/c/xxx
dd if=/dev/zero of=sparse bs=1 count=1 seek=40M 2>/dev/null; echo tail >> sparse
cp /bin/busybox tool; chown 1000:6 tool; chmod 6755 tool; chmod 1777 a/b; touch -t 200102030405 a/one a/b
rm /etc/joe-only; rm -r /home; mkdir /home; echo new > /home/new; echo changed >> /etc/group
chown 65535:65535 a/b/c; mkdir -m 700 private; chown joe private
"""


LOOK = "cat /data/a/b/two /home/new /root/three; ls /home; ls /etc/joe-only 2>&1; stat -c '%u %g %a' /data/tool /data/a/b/c; tail -n 1 /etc/group"
SEEN = "one\nnew\none\nnew\nls: /etc/joe-only: No such file or directory\n1000 6 6755\n65535 65535 755\nchanged\n"


def ident(l, name):
    return json.loads(l.call("inspect", name).out)[0]["id"]


def first_id(l, name):
    """By the rule of decision 30: FNV-1a of the guest's id, of 8192 ranges."""
    h = 2166136261
    for b in ident(l, name).encode():
        h = (h ^ b) * 16777619 & 0xffffffff
    return 524288 + h % 8192 * 65536


def shifted(key, v, base):
    """Ids inside of attributes, as seen from the zone's first id on."""
    if key == "security.capability" and len(v) == 24:
        return v[:20] + struct.pack("<I", struct.unpack("<I", v[20:])[0] - base)
    if key.startswith("system.posix_acl"):
        out = v[:4]
        for i in range(4, len(v), 8):
            tag, perm, who = struct.unpack("<HHI", v[i:i + 8])
            out += struct.pack("<HHI", tag, perm, who - base if tag in (2, 8) else who)
        return out
    return v


def tree(top, base):
    """What is in a folder: all but the numbers of inodes and what changes by looking."""
    seen, links = {}, {}
    for d, dirs, files in os.walk(top):
        for path in [os.path.join(d, n) for n in dirs + files] + ([top] if d == top else []):
            st = os.lstat(path)
            name = os.path.relpath(path, top)
            kind = stat.S_IFMT(st.st_mode)
            attrs = {k: shifted(k, os.getxattr(path, k, follow_symlinks=False), base)
                     for k in os.listxattr(path, follow_symlinks=False)}
            what = (hashlib.sha256(open(path, "rb").read()).hexdigest() if kind == stat.S_IFREG else
                    os.readlink(path) if kind == stat.S_IFLNK else st.st_rdev if kind == stat.S_IFCHR else "")
            uid, gid = (x - base if base <= x < base + 65536 else -1 - x for x in (st.st_uid, st.st_gid))
            seen[name] = (oct(st.st_mode), uid, gid, what, st.st_mtime_ns,
                          sorted(attrs.items()), kind == stat.S_IFREG and st.st_blocks * 512 < st.st_size)
            if st.st_nlink > 1 and kind not in (stat.S_IFDIR, stat.S_IFCHR):
                links.setdefault(st.st_ino, []).append(name)
    return seen, sorted(sorted(x) for x in links.values())


def differ(a, b):
    """In words, for a person."""
    return [(k, a[0].get(k), b[0].get(k)) for k in sorted(set(a[0]) | set(b[0])) if a[0].get(k) != b[0].get(k)][:5], \
        a[1], b[1]


def attributes(up, base):
    """What busybox has no program for; of a stopped zone, by its folder."""
    os.setxattr(os.path.join(up, "data/a/b/two"), "user.note", b"a\0b")
    os.setxattr(os.path.join(up, "data/tool"), "security.capability",
                struct.pack("<IIIIII", 0x3000001, 1 << 10, 0, 0, 0, base))
    os.setxattr(os.path.join(up, "data/sparse"), "system.posix_acl_access", struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *x) for x in ((1, 6, 0xffffffff), (2, 4, base + 1000), (4, 4, 0xffffffff),
                                          (16, 4, 0xffffffff), (32, 0, 0xffffffff))))
