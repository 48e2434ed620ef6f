#!/bin/bash
# The command line under attack: what others named or wrote does nothing to the terminal of who reads
# it. doc/security.md says which attack is tested where. LODGE is the program.
set -u
LODGE=${LODGE:-$PWD/build/lodge}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill -9 $(jobs -p) 2> /dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
export LODGE_HOME=$work/home LODGE_CACHE=$work/cache
errs=err
. "$here/common"

# ---- the list names what there is ------------------------------------------------------------
top=$here/../..
for name in $(grep -oE '`[a-z0-9]+_[a-z0-9_]*`' "$top/doc/security.md" | tr -d '`' | sort -u); do
	case $name in
	init_size | pci_cfg_data) ;; # fields
	*_) is "tests $name" grep -rqE "^(TEST|BOTH)\\($name" "$top/src" ;;
	*) is "test $name" grep -rqE "^(TEST|BOTH)\\($name[a-z_]*\\)" "$top/src" ;;
	esac
done
for name in $(grep -oE '`(test|fuzz)/[a-z0-9_/.]+`' "$top/doc/security.md" | tr -d '`' | sort -u); do
	case $name in fuzz/x | test/...) continue ;; esac
	is "$name" [ -e "$top/$name" -o -e "$top/test/${name}_fuzz.c" ]
done

# ---- words of others -------------------------------------------------------------------------
# A title, a clear screen, the clipboard; CSI as a C1 control, in UTF-8 and without; right to left.
evil=$'x\e]0;y\a\e[2J\e]52;c;eA==\a\xc2\x9b2J\x9b2J\xe2\x80\xae'
tame() { # WHAT COMMAND...: nothing but lines of letters comes out of it
	local what=$1
	shift
	timeout 60 "$@" > said 2>&1 < /dev/null
	is "$what: says something" [ -s said ]
	is "$what: moves no cursor" sh -c '! LC_ALL=C grep -qP "[\x00-\x08\x0b-\x1f\x7f]|(?<![\xc2-\xf4\x80-\xbf])[\x80-\x9f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]" said'
}
tame 'a verb' "$LODGE" "$evil"
tame 'an option' "$LODGE" run "--$evil"
tame 'a guest' "$LODGE" start "$evil"
tame 'a file' "$LODGE" image info "$evil"
tame 'a template' "$LODGE" ps --format "{{$evil"
if command -v qemu-img > /dev/null; then
	qemu-img create -q -f qcow2 -u -F raw -b "$evil" named.qcow2 1M
	qemu-img create -q -f qcow2 tagged.qcow2 1M
	qemu-img snapshot -c "$evil" tagged.qcow2
	tame 'a backing file' "$LODGE" image info named.qcow2
	tame 'a backing file in JSON' "$LODGE" image info --format json named.qcow2
	tame 'a snapshot' "$LODGE" image info tagged.qcow2
	tame 'a snapshot in JSON' "$LODGE" image info --format json tagged.qcow2
	tame 'a backing file not opened' "$LODGE" image convert -O raw named.qcow2 out.raw
fi

# ---- names -----------------------------------------------------------------------------------
elfs
state() { "$LODGE" inspect --format '{{.State}}' "$1" 2> /dev/null; }
for name in '' . .. ../x a/b -x .x $'a\nb' $'a\e[2J' "$(printf '%65s' | tr ' ' x)" 'a b' $'\xc2\x9b'; do
	gives 125 create --name "$name" --kernel wait
	gives 125 volume create "$name"
	gives 125 network create "$name"
done
is 'no name became a path' [ -z "$(ls -A home/guests home/volumes home/networks 2> /dev/null | grep -v '^home\|^$\|^\.gone$')" ]

# ---- a control socket and a crowd ----------------------------------------------------------------
gives 0 run -d --name loud -m 64M --kernel loud
cat > crowd.py <<'END'
import os, socket, subprocess, sys, time
# A thousand who connect to the monitor: they say nothing, half a line, too much, or sit at its console
# and do not read. Meanwhile somebody honest has a question.
at, lodge, pid = sys.argv[1:4]
def rss():
    return [int(l.split()[1]) for l in open("/proc/%s/status" % pid) if l.startswith("VmRSS")][0]
def fds():
    return len(os.listdir("/proc/%s/fd" % pid))
before, open_before, crowd = rss(), fds(), []
end = time.time() + 100
said = (b"", b"insp", b"x" * 8000, b"attach\n", b"wait\n", b"inspect\n" * 500)
for i in range(1000):
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    try:
        s.connect(at)
        s.send(said[i % len(said)])
    except OSError:
        pass
    crowd.append(s)
    if i % 500 == 499:
        while subprocess.run([lodge, "inspect", "loud"], capture_output=True, timeout=30).returncode:
            assert time.time() < end, "nobody is answered"
        for verb in "pause", "resume":
            while subprocess.run([lodge, verb, "loud"], capture_output=True, timeout=30).returncode:
                assert time.time() < end, verb + " is not answered"
print("grew by %d KiB, %d descriptors" % (rss() - before, fds() - open_before))
assert rss() - before < 32 << 10
assert fds() - open_before < 300
for s in crowd:
    s.close()
while fds() > open_before + 2: # those who wait are looked at when another one comes
    try:
        subprocess.run([lodge, "wait", "loud"], capture_output=True, timeout=0.5)
    except subprocess.TimeoutExpired:
        pass
    assert time.time() < end, "%d descriptors stay open" % (fds() - open_before)
    time.sleep(0.1)
END
timeout 120 python3 crowd.py home/run/loud "$LODGE" "$("$LODGE" inspect --format '{{.Pid}}' loud)" > out 2> err
is 'a crowd at the control socket' [ $? = 0 ]
does running inspect --format '{{.State}}' loud
does loud rm -f loud

# ---- a full disk ---------------------------------------------------------------------------------
# In a mount namespace of its own, so that nothing is left of it whatever happens.
cat > full.sh <<'END'
set -u
here=$1 errs=err
. "$here/common"
state() { "$LODGE" inspect --format '{{.State}}' "$1" 2> /dev/null; }
mkdir small && mount -t tmpfs -o size=6m tmpfs small || exit 1
export LODGE_HOME=$PWD/small LODGE
fill() { dd if=/dev/zero of=small/filler bs=4k > /dev/null 2>&1; }
gives 0 create --name a -m 64M --kernel wait
gives 0 run -d --name b -m 64M --kernel loud
fill
gives 125 create --name c -m 64M --kernel wait
is 'a full disk is called so' grep -q 'No space left' err
gives 125 start a
is 'a guest nobody could find does not run' [ "$(state a)" = created ]
is 'who runs goes on' [ "$(state b)" = running ]
gives 0 pause b
gives 0 resume b
gives 125 snapshot b full
gives 0 stop -f b
is 'and ends' [ "$(state b)" != running ]
gives 0 ps -a
rm small/filler
gives 0 start a
gives 0 start b
gives 0 snapshot b more
is 'with room again all is well' [ "$(state a) $(state b)" = 'running running' ]
gives 0 rm -f a b
gives 125 inspect c
echo "$passed passed, $failed failed"
END
if unshare -m true 2> /dev/null; then
	LODGE=$LODGE timeout 200 unshare -m bash full.sh "$here" > full.out 2>&1
	grep -v ' passed, ' full.out
	read -r p _ f _ < <(tail -n 1 full.out)
	is "a full disk: $(tail -n 1 full.out)" [ "$f" = 0 ]
	passed=$((passed + ${p:-0}))
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
