#!/bin/bash
# The agent's side of QEMU's guest agent protocol, on this machine and under sanitizers: what qga.c
# answers, also to what is no command. Needs gcc, python3.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo '#include "agent.h"
#include <unistd.h>
bool write_all(int fd, const void *p, size_t n)
{
	while (n) {
		ssize_t put = write(fd, p, n);
		if (put <= 0) return false;
		p = (const char *)p + put;
		n -= (size_t)put;
	}
	return true;
}
int main(void) { qga(0); }' > "$work/main.c"
gcc -std=gnu17 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover \
	-D"KEPT=\"$work/identity\"" -D"RENEW=\"$work/renew\"" -D"MACHINE_ID=\"$work/machine-id\"" \
	-Iguests/agent "$work/main.c" guests/agent/{qga,identity,json,user}.c -o "$work/qga" || exit 1
cat > "$work/test.py" << 'END'
import socket, subprocess, json, base64, sys, time, random, os
ours, theirs = socket.socketpair()
ours.settimeout(30)
p = subprocess.Popen([sys.argv[1]], stdin=theirs, env={"ASAN_OPTIONS": "detect_leaks=0"})
theirs.close()
f = ours.makefile("rb")
passed = failed = 0
def is_(what, good):
    global passed, failed
    if good: passed += 1
    else:
        failed += 1
        print("FAILED:", what)
def raw(text):
    ours.sendall(text if isinstance(text, bytes) else text.encode())
    return f.readline()
def ask(command, **arguments):
    return json.loads(raw(json.dumps({"execute": command, "arguments": {k.replace("_", "-"): v for k, v in arguments.items()}}) + "\n"))
def gets(command, **arguments): return ask(command, **arguments)["return"]
def b64(b): return base64.b64encode(b).decode()
def run(path, **k):
    pid = gets("guest-exec", path=path, **k)["pid"]
    while True:
        s = gets("guest-exec-status", pid=pid)
        if s["exited"]: return s
        time.sleep(0.02)

is_("ping", gets("guest-ping") == {})
is_("sync", gets("guest-sync", id=4711) == 4711)
ours.sendall(b'stray {"exec\n')
is_("an error first", b"error" in f.readline())
is_("sync-delimited", raw('\xff{"execute": "guest-sync-delimited", "arguments": {"id": 5}}\n'.encode("latin1")) == b'\xff{"return": 5}\n')
info = gets("guest-info")
is_("info", {"guest-exec", "guest-shutdown"} <= {c["name"] for c in info["supported_commands"]})
is_("unknown", ask("guest-nothing")["error"]["class"] == "CommandNotFound")
is_("host name", gets("guest-get-host-name")["host-name"] == socket.gethostname())
is_("time", abs(gets("guest-get-time") / 1e9 - time.time()) < 60)
is_("interfaces", any(a["ip-address"] == "127.0.0.1" and a["prefix"] == 8 for i in gets("guest-network-get-interfaces") for a in i["ip-addresses"]))
is_("thawed", gets("guest-fsfreeze-status") == "thawed")
s = run("/bin/sh", arg=["-c", "cat; echo e >&2; exit 3"], input_data=b64(b"in\0put"), capture_output=True)
is_("exec: code", s["exitcode"] == 3)
is_("exec: output", base64.b64decode(s["out-data"]) == b"in\0put" and base64.b64decode(s["err-data"]) == b"e\n")
is_("exec: env", base64.b64decode(run("printenv", arg=["A"], env=["A=b c"], capture_output=True)["out-data"]) == b"b c\n")
is_("exec: signal", run("/bin/sh", arg=["-c", "kill -9 $$"])["signal"] == 9)
is_("exec: none", run("/no/such")["exitcode"] == 127)
is_("exec: words", base64.b64decode(run("echo", arg=['"\\\n\té', "\U0001f600"], capture_output=True)["out-data"]).decode() == '"\\\n\té \U0001f600\n')
big = run("head", arg=["-c", "9000000", "/dev/zero"], capture_output=True)
is_("exec: truncated", big["out-truncated"] and len(base64.b64decode(big["out-data"])) == 8 << 20)
is_("exec-status: nobody", "error" in ask("guest-exec-status", pid=1))
path = sys.argv[2] + "/file"
h = gets("guest-file-open", path=path, mode="w+")
is_("file-write", gets("guest-file-write", handle=h, buf_b64=b64(bytes(range(256))))["count"] == 256)
is_("file-seek", gets("guest-file-seek", handle=h, offset=1, whence=0)["position"] == 1)
got = gets("guest-file-read", handle=h, count=1000)
is_("file-read", base64.b64decode(got["buf-b64"]) == bytes(range(1, 256)) and got["eof"])
is_("file-flush", gets("guest-file-flush", handle=h) == {})
is_("file-close", gets("guest-file-close", handle=h) == {} and "error" in ask("guest-file-close", handle=h))
is_("file-open: none", "error" in ask("guest-file-open", path="/no/such"))
handles = [ask("guest-file-open", path=path) for _ in range(20)]
is_("too many files", "error" in handles[-1] and "return" in handles[0])
def kept(): return open(sys.argv[2] + "/identity").read()
def machine(): return open(sys.argv[2] + "/machine-id").read()
open(sys.argv[2] + "/machine-id", "w").write("f" * 32 + "\n")
macs = ["02:00:5e:00:00:01", "02:00:5e:00:00:02"]
is_("identity: the first", gets("lodge-set-identity", id="0123456789ab", name="no-such-host", macs=macs, seed=b64(bytes(33))) == {} and
    kept() == "0123456789ab no-such-host %s %s\n" % tuple(macs) and machine() == "f" * 32 + "\n")
is_("identity: the same", gets("lodge-set-identity", id="0123456789ab", name="no-such-host", macs=macs[:1]) == {} and machine()[0:2] == "ff")
is_("identity: another", gets("lodge-set-identity", id="0123456789ac", name="nor-this", macs=macs) == {} and
    kept().startswith("0123456789ac nor-this") and len(machine()) == 33 and machine() != "f" * 32 + "\n" and machine()[12] == "4")
for bad in {"id": ""}, {"id": "a b"}, {"macs": ["02"]}, {"macs": ["x" * 400]}:
    is_("identity: none: %s" % bad, "error" in ask("lodge-set-identity", **{"id": "0123456789ad", "name": "x", "macs": [], **bad}))
is_("identity: nobody", "error" in ask("lodge-set-identity"))
is_("a bad mode", "error" in ask("guest-shutdown", mode="sideways"))
is_("a time that is none", "error" in ask("guest-set-time", time=-1))
random.seed(int(os.environ.get("RANDOM_SEED", "1")))
good = b'{"execute": "guest-exec-status", "arguments": {"pid": 12, "x": [1, {"y": "\\u00e9\\n"}], "z": null}}'
for i in range(3000):
    line = bytearray(good)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(line))
        how = random.randrange(3)
        if how == 0: line[at] = random.choice(b'{}[]",:\\u0x9 -\xff')
        elif how == 1: del line[at:at + random.randint(1, 9)]
        else: line[at:at] = random.choice([b"{", b"[", b'"', b"\\", b",", b"[" * 40])
        if not line: line = bytearray(b"x")
    line = bytes(line).replace(b"\n", b" ")
    if not line.strip(b"\xff \t\r"): continue
    if not raw(line + b"\n"): break
is_("what is no command", gets("guest-ping") == {})
is_("a line without end", raw(b"x" * 400000 + b"\n" + b'{"execute": "guest-sync", "arguments": {"id": 9}}\n') != b"" and
    json.loads(f.readline())["return"] == 9)
ours.close()
f.close()
is_("it ends well: %d" % p.wait(30), p.returncode == 0)
print("%d passed, %d failed" % (passed, failed))
sys.exit(failed != 0)
END
timeout 120 python3 "$work/test.py" "$work/qga" "$work"
