#!/bin/bash
# Programs run in guests and files copied, by the agent of the built-in guest, for both CPUs: codes,
# streams, terminals, what happens when either end is killed, graceful stops, hostile guests. LODGE is
# the program; needs python3.
set -u
LODGE=${LODGE:-$PWD/build/lodge}
here=$(cd "$(dirname "$0")" && pwd)
usual=${LODGE_HOME:-}
work=$(mktemp -d)
cleanup() {
	"$LODGE" rm -f $(ls "$work/home/guests" 2> /dev/null) > /dev/null 2>&1
	kill -9 $(jobs -p) 2> /dev/null
	rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1
exec 2> "$work/shell"
. "$here/common"
lodge() { timeout 120 "$LODGE" "$@"; }
refuses() { # WORDS ARG...
	local words=$1
	shift
	lodge "$@" > out 2> err < /dev/null
	is "$*: exit code" [ $? = 125 ]
	is "$*: says '$words'" grep -qF -- "$words" err
}
soon() { # WHAT COMMAND...: true within half a minute
	local what=$1
	shift
	for _ in $(seq 300); do
		"$@" > /dev/null 2>&1 && ok && return
		sleep 0.1
	done
	bad "$what"
}

runs() { lodge exec $g sh -c 'ps | grep "$1" | grep -v grep' sh "$1" < /dev/null | grep -qF "$1"; } # COMMAND

g=store
for arch in riscv64 amd64; do
	"$LODGE" image build --arch $arch linux > /dev/null || bad "no image linux for $arch"
done
[ -n "$usual" ] || usual=$([ "$(id -u)" = 0 ] && echo /var/lib/lodge || echo "${XDG_DATA_HOME:-$HOME/.local/share}/lodge")
mkdir -p home
cp -rl "$usual/images" "$usual/blobs" home/ 2> /dev/null || cp -r "$usual/images" "$usual/blobs" home/
export LODGE_HOME=$work/home

head -c 100000000 /dev/urandom > random
mkdir -p "tree/sub/$(printf 'y%.0s' $(seq 180))/$(printf 'z%.0s' $(seq 180))" tree/empty
echo hello > tree/a
ln -s ../../../../etc/passwd tree/sub/out
ln -s a tree/to_a
touch "tree/two
lines" tree/$'\xff\xfe' "tree/ blank" tree/-rf 'tree/$(reboot)'
truncate -s 2M tree/sparse
echo end >> tree/sparse
chmod 700 tree/a
cat > typist.py << 'END'
import os, pty, sys, time, fcntl, termios, struct
def say(fd, text): os.write(fd, text.encode())
def hear(fd, words, seen=b""):
    end = time.time() + 60
    while words.encode() not in seen:
        if time.time() > end: raise SystemExit("no '%s' in %r" % (words, seen))
        seen += os.read(fd, 4096)
    return seen
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
say(fd, "tty; stty size; echo o''k\n")
seen = hear(fd, "ok")
if b"/dev/pts/" not in seen: raise SystemExit("no terminal: %r" % seen)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 77, 0, 0))
time.sleep(0.5)
say(fd, "stty size; echo siz''ed\n")
if b"44 77" not in hear(fd, "sized"): raise SystemExit("not resized")
say(fd, "sleep 100; echo int''errupted\n")
time.sleep(1)
say(fd, "\x03")
time.sleep(0.5)
say(fd, "echo st''ill here; exit 9\n")
hear(fd, "still here")
while True:
    try:
        if not os.read(fd, 4096): break
    except OSError: break
_, status = os.waitpid(pid, 0)
raise SystemExit(0 if os.waitstatus_to_exitcode(status) == 9 else "exit code %d" % status)
END

for arch in riscv64 amd64; do
	g=agent-$arch
	lodge run -d --arch $arch --name $g > out 2> err || bad "run"
	does "$(uname -s)" exec $g uname -s # waits for the agent
	does $g exec $g hostname

	# codes
	does 0,1,2,77,125,126,127,128,129,254,255, exec $g sh -c 'for c in 0 1 2 77 125 126 127 128 129 254 255; do (exit $c); printf $?,; done'
	for c in 0 1 77 125 200 255; do gives $c exec $g sh -c "exit $c"; done
	gives 127 exec $g no-such-program
	gives 126 exec $g /etc
	gives 137 exec $g sh -c 'kill -9 $$'
	gives 125 exec no-such-guest true
	refuses 'which command' exec $g --
	does '-it --help' exec $g -- echo -it --help

	# settings
	does 'b /tmp 12 34' exec -e A=b -w /tmp -u 12:34 $g sh -c 'echo $A $PWD $(id -u) $(id -g)'
	gives 126 exec -w /none $g true
	gives 126 exec -u nobody-there $g true
	refuses NAME=VALUE exec -e A $g true

	# streams
	lodge exec $g sh -c 'echo out; echo err >&2' > out 2> err
	is 'output and errors apart' [ "$(cat out)$(cat err)" = outerr ]
	is '100 MB there and back' cmp -s random <(lodge exec -i $g cat < random)
	does '' exec $g cat # nobody types
	lodge exec -i $g head -c 5 < random > out 2> err
	is 'who reads no more' [ "$(wc -c < out)" = 5 ]
	is 'who hears no more' [ "$(lodge exec $g yes 2> /dev/null | head -n 3 | wc -l)" = 3 ]
	lodge exec $g sh -c 'sleep 1000 & echo started' > out 2> err
	is 'what runs on is not waited for' [ "$(cat out)" = started ]
	for i in 1 2 3 4 5 6 7 8; do lodge exec $g sh -c "sleep 0.$i; echo $i" > many.$i 2>&1 & done
	wait
	is 'many at once' [ "$(cat many.*)" = "$(seq 8)" ]

	# terminals
	is 'a terminal' timeout 120 python3 typist.py "$LODGE" shell $g
	is 'a terminal by exec' timeout 120 python3 typist.py "$LODGE" exec -it $g sh
	refuses 'no terminal' exec -it $g sh

	# ends
	"$LODGE" exec $g sleep 4321 < /dev/null > /dev/null 2>&1 &
	client=$!
	soon 'it runs' runs 'sleep 4321'
	kill -9 $client
	soon 'it ends with its client' eval "! runs 'sleep 4321'"
	"$LODGE" exec $g sleep 4322 < /dev/null > /dev/null 2>&1 &
	client=$!
	soon 'it runs' runs 'sleep 4322'
	kill -TERM $client
	wait $client
	is 'SIGTERM is passed on' [ $? = 143 ]

	# files
	gives 0 cp tree $g:/tmp
	gives 0 cp $g:/tmp/tree back
	is 'a tree there and back' diff -r --no-dereference tree back
	is 'links stay' [ "$(readlink back/sub/out)" = ../../../../etc/passwd ]
	is 'modes stay' [ "$(stat -c %a back/a)" = 700 ]
	gives 0 cp tree/. $g:/tmp/contents
	gives 0 cp $g:/tmp/contents/. back
	is 'contents into a folder' diff -r --no-dereference tree back
	mkdir into
	gives 0 cp $g:/tmp/tree into
	is 'into a folder' diff -r --no-dereference tree into/tree
	gives 0 cp tree/a $g:/tmp/b
	does hello exec $g cat /tmp/b
	gives 0 cp $g:/tmp/b into/
	is 'a file into a folder' cmp -s tree/a into/b
	refuses 'no such folder' cp tree/a $g:/none/
	refuses 'no such folder' cp $g:/tmp/b none/
	refuses 'no folder' cp $g:/tmp/tree into/b
	gives 125 cp $g:/none x
	gives 125 cp none $g:/tmp
	refuses 'GUEST:PATH' cp a b
	gives 0 cp random $g:/tmp/random
	does "$(md5sum < random)" exec $g sh -c 'md5sum </tmp/random'
	gives 0 exec $g rm /tmp/random
	rm -rf back into

	# the same by QEMU's protocol, more than it takes or keeps at once
	export LODGE_AGENT=qemu
	gives 0 exec $g mkdir -p /var/tmp /tmp/q
	gives 0 cp tree $g:/tmp/q
	gives 0 cp $g:/tmp/q/tree back
	is 'a tree there and back, by QEMU' diff -r --no-dereference tree back
	head -c 3000001 /dev/urandom > much
	gives 0 cp much $g:/tmp/q
	does "$(md5sum < much)" exec $g sh -c 'md5sum </tmp/q/much'
	gives 0 cp $g:/tmp/q/much again
	is 'much there and back, by QEMU' cmp -s much again
	gives 125 cp $g:/none x
	refuses 'no such folder' cp tree/a $g:/none/
	does '' exec $g sh -c 'ls /var/tmp; rm -r /tmp/q'
	unset LODGE_AGENT
	rm -rf back much again

	# a guest whose tar is not to be trusted
	mkdir evil
	echo mine > secret
	python3 - > evil.tar << 'END'
import tarfile, io, sys
t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
def add(name, **k):
    i = tarfile.TarInfo(name)
    for a, v in k.items(): setattr(i, a, v)
    t.addfile(i, io.BytesIO(b"x" * i.size))
add("t", type=tarfile.DIRTYPE, mode=0o755)
add("t/suid", size=1, mode=0o6755)
add("t/link", type=tarfile.SYMTYPE, linkname="..")
add("t/link/secret", size=1, mode=0o644)
END
	gives 0 cp evil.tar $g:/tmp/evil.tar
	gives 0 exec $g sh -c 'rm /bin/tar; printf "#!/bin/sh\ncat /tmp/evil.tar\n" >/bin/tar; chmod 755 /bin/tar; ls -l /bin/tar'
	gives 125 cp $g:/t evil
	is 'nothing outside' [ "$(cat secret)" = mine ]
	is 'no set-user-id' [ "$(stat -c %a evil/t/suid)" = 755 ]
	rm -rf evil

	# time, sockets, ends
	lodge pause $g > /dev/null
	sleep 3
	lodge resume $g > /dev/null
	soon 'the time after a pause' eval '[ $(($(date +%s) - $(lodge exec $g date +%s))) -le 1 ]'
	does $g stop --time 60 $g
	is 'it powered off' [ "$(lodge inspect --format '{{.ExitCode}}' $g)" = 0 ]
	gives 0 start $g
	"$LODGE" exec $g sleep 100 < /dev/null > out 2> err &
	client=$!
	soon 'it runs' runs 'sleep 100'
	lodge kill $g > /dev/null
	wait $client
	is 'the guest is gone' [ $? = 125 ]
	refuses 'does not run' exec $g true
	lodge rm $g > /dev/null
done
# Debian, with systemd
if [ -n "${LONG:-}" ]; then
	g=agent-debian
	LODGE_HOME=$usual "$LODGE" image build --arch amd64 debian > /dev/null || bad 'no image debian'
	cp -rl "$usual/images" "$usual/blobs" home/ 2> /dev/null || cp -r "$usual/images" "$usual/blobs" home/
	lodge run -d --arch amd64 --name $g debian > out 2> err || bad run
	does running exec $g systemctl is-system-running --wait
	does active exec $g systemctl is-active lodge-agent
	does $g exec $g hostname
	does nobody exec -u nobody $g id -un
	gives 0 cp $g:/usr/share/doc/bash copied
	is 'a folder of it' test -s copied/copyright
	does $g stop --time 60 $g
	is 'it powered off' [ "$(lodge inspect --format '{{.ExitCode}}' $g)" = 0 ]
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
