#!/bin/bash
# Guests that are kept: every verb about them, on guests of a few instructions and on real Linux,
# what two commands at once do, and what is left when anything is killed at any write. LODGE is the
# program; needs a cross compiler, and the built-in guest for both CPUs.
set -u
LODGE=${LODGE:-$PWD/build/lodge}
here=$(cd "$(dirname "$0")" && pwd)
usual=${LODGE_HOME:-}
work=$(mktemp -d)
ours() { ls "$work/home/guests" 2> /dev/null; }
cleanup() {
	"$LODGE" rm -f $(ours) > /dev/null 2>&1
	kill -9 $(jobs -p) 2> /dev/null
	rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1
exec 2> "$work/shell" # where bash tells of those that were killed
. "$here/common"
refuses() { # WORDS ARG...: exit code 125, WORDS on stderr
	local words=$1
	shift
	timeout 60 "$LODGE" "$@" > out 2> err < /dev/null
	is "$*: exit code" [ $? = 125 ]
	is "$*: says '$words'" grep -qF -- "$words" err
	is "$*: begins with lodge:" [ "$(head -c 7 err)" = 'lodge: ' ]
}
state() { "$LODGE" inspect --format '{{.State}}' "$1" 2> /dev/null; }
until_state() { # GUEST STATE
	for _ in $(seq 300); do
		[ "$(state "$1")" = "$2" ] && return
		sleep 0.05
	done
	bad "$1 is $(state "$1"), not $2"
}
until_log() { # GUEST WORDS
	for _ in $(seq 600); do
		"$LODGE" logs "$1" 2> /dev/null | grep -qF -- "$2" && return
		sleep 0.05
	done
	bad "$1 does not say $2"
}
disk_is() { # GUEST FILE: its own disk holds that
	local at=home/guests/$1
	rm -f is.raw
	if [ -e "$at/disk.qcow2" ]; then
		"$LODGE" image convert --backing -f qcow2 "$at/disk.qcow2" is.raw > out 2> err || return
	else
		cp "$at/disk.raw" is.raw
	fi
	cmp -s is.raw "$2"
}
monitor() { "$LODGE" inspect --format '{{.Pid}}' "$1"; }

# the built-in guest, from the usual store
for arch in riscv64 amd64; do
	"$LODGE" image inspect --arch $arch linux > /dev/null 2>&1 ||
		"$LODGE" image build --arch $arch linux > /dev/null || bad "no image linux for $arch"
done
[ -n "$usual" ] || usual=$([ "$(id -u)" = 0 ] && echo /var/lib/lodge || echo "${XDG_DATA_HOME:-$HOME/.local/share}/lodge")
mkdir -p home
cp -rl "$usual/images" "$usual/blobs" home/ 2> /dev/null || cp -r "$usual/images" "$usual/blobs" home/
export LODGE_HOME=$work/home

elfs
# says ESC ] 52 and ends
elf nasty "li a0, 0x10000000\nli a1, 0x1b\nsb a1, 0(a0)\nli a1, ']'\nsb a1, 0(a0)\nli a1, 0xc2\nsb a1, 0(a0)\nli a1, 0x9b\nsb a1, 0(a0)\nli a1, 10\nsb a1, 0(a0)\nli a0, 0x100000\nli a1, 0x5555\nsw a1, 0(a0)\n1: j 1b\n"
# echoes until '.', then ends with 3
elf echo "li a0, 0x10000000\n1: lbu a1, 5(a0)\nandi a1, a1, 1\nbeqz a1, 1b\nlbu a1, 0(a0)\nsb a1, 0(a0)\nli a2, '.'\nbne a1, a2, 1b\nli a0, 0x100000\nli a1, 0x33333\nsw a1, 0(a0)\n2: j 2b\n"
head -c 1048576 /dev/urandom > disk
mkdir -p "$LODGE_HOME/images/hand" "$LODGE_HOME/images/other"
for image in hand other; do
	echo "{ \"name\": \"$image\", \"arch\": \"riscv64\", \"kind\": \"vm\", \"created\": 1, \"memory\": 67108864,
	\"kernel\": { $(blob wait) }, \"disk\": { $(blob disk), \"format\": \"raw\" } }" \
		> "$LODGE_HOME/images/$image/riscv64.json"
done

# --- made, run, ended, removed --------------------------------------------------------------------
does web create --name web -c 2 -p 2222:22 hand
does created inspect --format '{{.State}}' web
is 'its disk is its own' disk_is web disk
does 'hand riscv64 2 67108864 127.0.0.1:2222:22/tcp' \
	inspect --format '{{.Image}} {{.Arch}} {{.Cpus}} {{.Memory}} {{.Ports}}' web
refuses 'already' create --name web hand
refuses 'has not run yet' wait web
does '' ps -q
does web ps -a -q
does web start web
does web start web
does running inspect --format '{{.State}}' web
pid=$(monitor web)
is 'ps shows whose process it is' [ "$(tr -d '\0' < /proc/$pid/cmdline)" = 'lodge: web' ]
is 'in a session of its own' [ "$(ps -o sid= -p $pid | tr -d ' ')" = $pid ]
is 'without a terminal' [ "$(ps -o tty= -p $pid)" = '?       ' -o "$(ps -o tty= -p $pid | tr -d ' ')" = '?' ]
is 'in no folder of ours' [ "$(readlink /proc/$pid/cwd)" = / ]
is 'its input is nothing' [ "$(readlink /proc/$pid/fd/0)" = /dev/null ]
refuses 'running' run --name web hand
refuses 'stop it first' rm web
"$LODGE" stop web > out 2> err
is 'stop: exit code' [ $? = 0 ]
is 'stop: says that it could not be asked' grep -q 'no power button' err
is 'stop: the process is gone' [ "$(ps -o stat= -p $pid | tr -d 'sZ')" = '' ]
does 137 wait web
does web stop web
refuses 'does not run' kill web
refuses 'does not run' pause web
refuses 'does not run' attach web
id=$("$LODGE" inspect --format '{{.Id}}' web)
is 'an id' [ "${#id}" = 12 ]
does web start "$id"
does web restart -t 0 "${id:0:8}"
is 'restarted: another process' [ "$(monitor web)" != $pid ]
does web kill we
does web rm web
does '' ps -aq
refuses "no guest named 'web'" start web
refuses "no guest named 'web'" rm web
does '' rm -f web
refuses 'is not the name of a guest' start ../web
refuses 'needs GUEST' start
refuses 'seconds' stop -t soon web
refuses 'is no signal' kill -s NONE web
refuses 'cannot be the name' rename web ../x
refuses 'lines' logs --tail -1 web
refuses '--format' ps --format '{{.Name'

# errors of starting are the caller's; a guest that never ran leaves nothing
refuses 'nope' run -d --name bad --kernel nope
refuses 'too small' run -d --name bad -m 8M hand
refuses 'there is none' run -d --name bad nosuchimage
refuses 'neither --detach' create -d hand
does '' ps -aq
"$LODGE" create --name bad --kernel "$work/gone" > out 2> err
refuses 'gone' start bad
does created inspect --format '{{.State}}' bad
does bad rm bad

# exit codes
"$LODGE" create --name seven -m 64M --kernel seven > out 2> err
gives 7 start -a seven
does 7 wait seven
does exited inspect --format '{{.State}}' seven
gives 7 start --attach seven
gives 7 run --name seven -m 64M --kernel seven
does seven start seven
until_state seven exited
does 7 wait seven
does seven rm seven
gives 0 run -d --rm --name brief -m 64M --kernel off
for _ in $(seq 100); do [ -e home/guests/brief ] || break; sleep 0.05; done
is '--rm: nothing is left' [ ! -e home/guests/brief ]
gives 7 run --rm --name brief -m 64M --kernel seven
is '--rm in the foreground: nothing is left' [ ! -e home/guests/brief ]
gives 0 run -d --rm --name last -m 64M --kernel wait
"$LODGE" wait last > out.wait 2>&1 &
sleep 0.3
does last kill last
wait $!
is 'wait hears of one that is removed' [ "$(cat out.wait)" = 137 ]

# names: given, generated, again
does hand-1 create hand
does hand-2 create hand
does vm-1 create -m 64M --kernel wait
refuses 'begins the names of 2' start hand
refuses "a guest named 'hand-1'" rename hand-1 hand-1
refuses "a guest named 'hand-2'" rename hand-1 hand-2
does '' rename hand-1 first
does 'first
hand-2
vm-1' ps -aq
gives 0 start first
does '' rename first second
does running inspect --format '{{.State}}' second
is 'its socket goes with it' [ -S home/run/second -a ! -e home/run/first ]
refuses "a guest named 'hand-2'" rename second hand-2
does second kill second
refuses 'made from image hand' run --name second other
refuses 'has CPU riscv64' run --name second --arch amd64
before=$("$LODGE" inspect --format '{{.Id}} {{.Created}}' second)
gives 0 run -d --name second -c 2
does "$before 2 hand" inspect --format '{{.Id}} {{.Created}} {{.Cpus}} {{.Image}}' second
does second stop --force second
does second start second
does 2 inspect --format '{{.Cpus}}' second
does 'hand-2
vm-1' prune -f
does second rm -f second

# the same in a store with an old guest, which has no record
mkdir -p home/guests/old
cp home/images/hand/riscv64.json home/guests/old/image.json
cp disk home/guests/old/disk.raw
does old ps -aq
refuses 'nothing is recorded' start old
gives 0 run -d --name old hand
echo nonsense > home/guests/old/guest.json
"$LODGE" stop -f old > out 2> err
does broken inspect --format '{{.State}}' old
refuses 'guest.json' start old
does old rm old

# --- several at once ---------------------------------------------------------------------------
"$LODGE" create --name busy hand > out 2> err
for i in $(seq 10); do
	case $((i % 4)) in
	0) "$LODGE" restart -t 0 busy ;;
	1) "$LODGE" start busy ;;
	2) "$LODGE" stop --force busy ;;
	3) "$LODGE" inspect busy ;;
	esac > "busy.$i" 2>&1 &
done
wait
is 'ten at once: whole' grep -qE '^(running|exited|created)$' <(state busy)
is 'ten at once: nothing strange' [ -z "$(cat busy.* | grep '^lodge:' | grep -vE 'power|runs|running|in hands|does not run|no guest named')" ]
does busy start busy
does busy kill busy
for i in $(seq 10); do
	case $((i % 3)) in
	0) "$LODGE" create --name busy hand ;;
	1) "$LODGE" rm -f busy ;;
	2) "$LODGE" run -d --name busy hand ;;
	esac > "busy.$i" 2>&1 &
done
wait
gives 0 rm -f busy
does '' ps -aq
is 'and nothing is left' [ -z "$(ls -A home/guests | grep -v '^\.gone$')" ]
for i in $(seq 8); do "$LODGE" run -d hand > "many.$i" 2>&1 & done
wait
is 'eight without a name: eight names' [ "$(cat many.* | sort -u | wc -l)" = 8 ]
is 'all run' [ "$("$LODGE" ps -q | wc -l)" = 8 ]
gives 0 rm -f $("$LODGE" ps -q)

# --- disks over their image's ---------------------------------------------------------------------
head -c 1048576 /dev/urandom > thin
mkdir -p home/images/thin
echo "{ \"name\": \"thin\", \"arch\": \"riscv64\", \"kind\": \"vm\", \"created\": 1, \"memory\": 67108864,
	\"kernel\": { $(blob off) }, \"disk\": { $(blob thin), \"format\": \"raw\" } }" > home/images/thin/riscv64.json
contents=home/blobs/sha256/$(sha256sum < thin | cut -d' ' -f1)
chmod 444 "$contents"
does t1 create --name t1 thin
does t2 create --name t2 thin
does t3 create --name t3 --disk-copy thin
is 'a copy where one is wanted' cmp -s thin home/guests/t3/disk.raw
is 'the first holds what the image does' disk_is t1 thin
if [ -e home/guests/t1/disk.qcow2 ]; then # not where the file system clones
	is 'which it shares' [ home/guests/t1/base-* -ef "$contents" -a home/guests/t2/base-* -ef "$contents" ]
	is 'and takes little' [ "$(stat -c %b home/guests/t1/disk.qcow2)" -lt 512 ]
	is 'qemu-img takes it for whole' qemu-img check -q home/guests/t1/disk.qcow2
	qemu-io -c 'write -q -P 7 65536 4096' home/guests/t1/disk.qcow2 > out 2>&1
else
	printf 'x' | dd of=home/guests/t1/disk.raw bs=1 seek=65536 conv=notrunc status=none
fi
disk_is t1 thin && bad 't1 holds what was written'
cp is.raw written
is 'what one writes the image does not have' cmp -s thin "$contents"
is 'nor another guest' disk_is t2 thin
does t4 clone t1 t4
does '' rename t4 t5
is 'a clone has it' disk_is t5 written
gives 0 run -d --name t1
"$LODGE" wait t1 > out 2> err
is 'and it has run' disk_is t1 written
flock home/guests/t1 sh -c ': > held; sleep 1; : > let-go' & # as its monitor does while it ends
until [ -e held ]; do sleep 0.05; done
"$LODGE" wait t1 > out 2> err
is 'who waits for its end waits for all of that' [ -e let-go ]
wait $!
gives 0 run --arch riscv64 thin
refuses 'guests are made from it: remove them first, or use --force: t1, t2, t3, t5' image rm thin
does t2 rm t2
refuses 't1, t3, t5' image rm --arch riscv64 thin
does thin image rm -f thin
refuses 'none for riscv64' create --arch riscv64 thin
gives 0 start t1
"$LODGE" wait t1 > out 2> err
is 'it keeps what it has without its image' disk_is t1 written
does t6 clone t3 t6
is 'the store too, while one needs it' [ -e "$contents" ]
does 't1
t3
t5
t6' prune -f
is 'and then it goes' [ ! -e "$contents" ]

# --- killed --------------------------------------------------------------------------------------
gives 0 run -d --name victim hand
kill -9 "$(monitor victim)"
until_state victim broken
is 'killed: ps says so' grep -q 'its monitor was killed' <("$LODGE" ps -a)
does '' ps -q
timeout 20 "$LODGE" wait victim > out 2> err
is 'killed: wait prints 125' [ $? = 125 -a "$(cat out)" = 125 ]
does victim start victim
"$LODGE" wait victim > out.wait 2>&1 &
sleep 0.3
kill -9 "$(monitor victim)"
wait $!
is 'killed while waited for' grep -q killed out.wait
does victim start victim
kill -STOP "$(monitor victim)"
refuses 'does not answer' pause victim
does victim kill victim
does broken inspect --format '{{.State}}' victim
does victim rm victim
# at every write: whatever is left is a guest as before, a new one, or none
every() { # WHAT COMMAND...: killed at its first write, its second one...
	local what=$1 n=1
	shift
	while [ $n -lt 60 ]; do
		LODGE_KILL_AT=$n "$LODGE" "$@" > out 2> err < /dev/null
		local code=$? told=0
		# the monitor was killed, or its helper, not who started it
		grep -q 'without a word\|helper process is gone' err && told=1
		pid=$(monitor victim 2> /dev/null)
		"$LODGE" ps -a > /dev/null 2> err || bad "$what killed at $n: ps"
		[ -s err ] && bad "$what killed at $n: ps complains"
		after "$n" || bad "$what killed at $n: then"
		[ $code = 137 ] || [ $told = 1 ] || break
		n=$((n + 1))
	done
	is "$what: was killed at $((n - 1)) places" [ $n -gt 2 ]
}
after() { # what was to be made can be made, run, holds what its image does, and goes without a trace
	"$LODGE" run -d --name victim hand > out 2> err || { "$LODGE" kill victim && "$LODGE" run -d --name victim hand; } > out 2> err || return
	[ "$(state victim)" = running ] && "$LODGE" kill victim > out 2> err &&
		disk_is victim disk && "$LODGE" rm -f victim > out 2> err &&
		[ -z "$(ls -A home/guests | grep -v '^\.gone$')" ]
}
every create create --name victim hand
every run run -d --name victim hand
after() {
	"$LODGE" start victim > out 2> err && [ "$(state victim)" = running ] &&
		"$LODGE" kill victim > out 2> err && state victim | grep -qE '^(exited|broken)$'
}
"$LODGE" create --name victim hand > out 2> err
every start start victim
after() {
	if [ -e home/guests/victim ]; then
		"$LODGE" start victim > out 2> err && "$LODGE" rm -f victim > out 2> err || return
	fi
	"$LODGE" create --name victim hand > out 2> err
}
every rm rm victim
is 'what a killed rm left goes with the next' [ -z "$(ls -A home/guests/.gone)" ]
after() {
	if [ -e home/guests/moved ]; then "$LODGE" rename moved victim > out 2> err || return; fi
	"$LODGE" start victim > out 2> err && "$LODGE" stop -f victim > out 2> err
}
every rename rename victim moved
gives 0 rm -f victim
does '' ps -aq
# monitors killed at any time, while others ask
gives 0 create --name victim hand
for _ in $(seq 15); do
	"$LODGE" start victim > out 2> err || bad "start after a kill"
	pid=$(monitor victim)
	"$LODGE" restart -t 0 victim > /dev/null 2>&1 &
	sleep "0.0$((RANDOM % 9))"
	kill -9 "$pid" 2> /dev/null
	wait $!
	grep -qE '^(running|exited|broken)$' <(state victim) || bad "state after a kill: $(state victim)"
done
gives 0 rm -f victim
is 'nothing is left of all that' [ -z "$(ls -A home/run; ls -A home/guests | grep -v '^\.gone$')" ]

# a guest that found no place for its socket
gives 0 create --name deaf hand
mv home/run home/run.aside
: > home/run
gives 0 start deaf
is 'no place for a socket: it says so' grep -q 'will not see' <("$LODGE" logs --monitor deaf)
rm home/run
mv home/run.aside home/run
does running inspect --format '{{.State}}' deaf
refuses 'cannot be asked' stop deaf
kill -9 "$(monitor deaf)"
until_state deaf broken
does deaf rm deaf

# --- console -------------------------------------------------------------------------------------
gives 0 run -d --name nasty -m 64M --kernel nasty
does 0 wait nasty
does "$(printf '\033]\302\233\n')" logs nasty
script -qec "$LODGE logs nasty" /dev/null < /dev/null > out 2> err
is 'logs to a terminal: nothing moves it' grep -qF '\x1b]\xc2\x9b' out
script -qec "$LODGE logs --raw nasty" /dev/null < /dev/null > out 2> err
is 'logs --raw: all as it is' grep -qF "$(printf '\033]')" out
does nasty start nasty
does 0 wait nasty
does "$(printf '\033]\302\233\n')" logs --tail 1 nasty
is 'logs of both runs' [ "$("$LODGE" logs nasty | wc -l)" = 2 ]
does '' logs --tail 0 nasty
does nasty rm nasty
gives 0 run -d --name loud -m 64M --kernel loud
for _ in $(seq 300); do [ -e home/guests/loud/console.log.1 ] && break; sleep 0.1; done
is 'the log is bounded' [ "$(cat home/guests/loud/console.log* | wc -c)" -le 2097152 ]
timeout 1 "$LODGE" logs -f --tail 1 loud | head -c 100000 > out
is 'logs -f goes on' [ "$(wc -c < out)" = 100000 ]
does loud rm -f loud
cat > sit.py <<'END'
import os, pty, sys, time, select
# sit.py COMMAND...: at a terminal; what is typed comes from SIT, '|' waits for what comes next
def run(words, keys):
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    seen = b''
    def until(want):
        nonlocal seen
        end = time.time() + 20
        while want not in seen and time.time() < end:
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    seen += os.read(fd, 4096)
                except OSError:
                    return
    until(b'to leave the guest')
    time.sleep(0.2)
    for part in keys.split('|'):
        part = part.encode().decode('unicode_escape').encode('latin1')
        if part.startswith(b'?'):
            until(part[1:])
        else:
            os.write(fd, part)
    end = time.time() + 20
    while time.time() < end:
        done, st = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if select.select([fd], [], [], 0.05)[0]:
            try:
                seen += os.read(fd, 4096)
            except OSError:
                pass
    else:
        os.kill(pid, 9)
        st = 99 << 8
    sys.stdout.buffer.write(seen)
    return os.waitstatus_to_exitcode(st)
sys.exit(run(sys.argv[1:], os.environ['SIT']))
END
sit() { # CODE KEYS ARG...
	local code=$1 keys=$2
	shift 2
	SIT=$keys python3 sit.py "$LODGE" "$@" > out 2> err
	local is=$?
	is "$*, typing $keys: exit code $code, is $is" [ $is = "$code" ]
}
gives 0 run -d --name echo -m 64M --kernel echo
sit 0 'hello|?hello|\x1d' attach echo
does running inspect --format '{{.State}}' echo
sit 0 'a\x10b|?\x10b|\x10\x11' attach --detach-keys ctrl-p,ctrl-q echo
is 'part of the keys goes through' grep -qF "$(printf 'a\020b')" out
refuses 'are no keys' attach --detach-keys ctrl-pp echo
SIT='?together|' python3 sit.py "$LODGE" attach echo > other 2>&1 &
other=$!
sleep 0.5
sit 3 'together|?together|.' attach echo
wait $other
is 'two sit there: both end with the guest' [ $? = 3 ]
is 'two sit there: both see' grep -q together other
does 3 wait echo
sit 3 'again|?again|.' start -a echo
sit 0 '\x1d' start -a echo
does running inspect --format '{{.State}}' echo
printf 'piped.' | timeout 20 "$LODGE" attach echo > out 2> err
is 'attach from a pipe: exit code' [ $? = 3 ]
is 'attach from a pipe: output' [ "$(cat out)" = piped. ]
does echo start echo
timeout 20 "$LODGE" attach --no-stdin echo < /dev/null > out 2> err &
sitting=$!
sleep 0.3
kill -9 "$(monitor echo)"
wait $sitting
is 'attach: the monitor is killed' [ $? = 125 ]
is 'attach: says so' grep -q 'monitor is gone' err
does echo rm echo
# junk instead of frames
gives 0 run -d --name echo -m 64M --kernel echo
python3 - "$LODGE_HOME/run/echo" > out 2> err <<'END'
import socket, sys, os
for first in (b'attach\n', b'attach x\n', b'attach\nitoo soon', b'wait\n', b'stop\n', b'stop -1\n', b'stop 1e9\n', b'rename ../x\n', b'rename \n', b'x' * 5000):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.settimeout(3)
    try:
        s.sendall(first)
        if first == b'attach\n':
            assert s.recv(100) == b'{ }\n'.replace(b' ', b''), first
            s.sendall(os.urandom(200000))
        elif first != b'wait\n':
            assert first == b'attach x\n' or b'error' in s.recv(4096), first
    except (BrokenPipeError, ConnectionResetError):
        pass
    s.close()
print('fine')
END
is 'strange requests are answered' [ "$(cat out)" = fine ]
does echo kill echo
does echo rm echo
# one in the foreground can be joined, too, and is listed
(sleep 20 | "$LODGE" run -m 64M --kernel echo > out.fg 2> err.fg) &
for _ in $(seq 100); do [ -S home/run/unnamed-1 ] && break; sleep 0.05; done
does unnamed-1 ps -q
does running inspect --format '{{.State}}' unnamed-1
refuses 'is not kept' logs unnamed-1
refuses 'is not kept' rename unnamed-1 x
printf 'joined.' | timeout 20 "$LODGE" attach unnamed-1 > out 2> err
is 'joined in the foreground: exit code' [ $? = 3 ]
is 'joined in the foreground: both see' [ "$(cat out)" = joined. -a "$(cat out.fg)" = joined. ]
kill $(jobs -p) 2> /dev/null
wait 2> /dev/null

# --- real ones -----------------------------------------------------------------------------------
for arch in riscv64 amd64; do
	does lin run -d --name lin --arch $arch --append 'console=ttyS0 quiet'
	until_log lin '~ # '
	printf 'nonce=$((6*7)); echo up $nonce\n' | timeout 5 "$LODGE" attach lin > out 2> err
	until_log lin 'up 42'
	does lin pause lin
	refuses 'already' pause lin
	does paused inspect --format '{{.State}}' lin
	is "$arch: paused in ps" grep -q '(paused)' <("$LODGE" ps)
	cpu() { cut -d' ' -f14,15 "/proc/$(monitor lin)/stat"; }
	was=$(cpu)
	printf 'echo still $nonce; cut -d. -f1 /proc/uptime | sed s/^/up=/\n' | timeout 5 "$LODGE" attach lin > typed 2>&1 &
	sleep 3
	is "$arch: paused, it does nothing" [ "$(echo "$was" "$(cpu)" | awk '{ print ($3 + $4 - $1 - $2 < 30) }')" = 1 ]
	is "$arch: paused, it says nothing" [ -z "$("$LODGE" logs lin | grep 'still 42')" ]
	does lin resume lin
	wait
	refuses 'not paused' resume lin
	until_log lin 'still 42'
	until_log lin 'up='
	up=$("$LODGE" logs lin | tr -d '\r' | sed -n 's/^up=//p' | tail -n 1)
	age=$(($(date +%s) - $(date -d "$("$LODGE" inspect --format '{{.Started}}' lin)" +%s)))
	is "$arch: its time stood still (up $up s of $age s)" [ "$up" -le $((age - 2)) ]
	printf 'sleep 1; echo slept $nonce\n' | timeout 1 "$LODGE" attach lin > out 2> err
	until_log lin 'slept 42'
	does lin pause lin
	gives 0 stop -t 1 lin
	does lin start lin
	until_log lin '~ # '
	sleep 1
	timeout 30 "$LODGE" attach lin < <(printf 'poweroff -f\n') > out 2> err
	is "$arch: powers off" [ $? = 0 ]
	does 0 wait lin
	does lin rm lin
done

grep -v ' Killed ' "$work/shell"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
