#!/bin/bash
# The command line from outside: words, exit codes, what is left behind when things go wrong.
# LODGE is the program; needs no network and no image, but a cross compiler.
set -u
LODGE=${LODGE:-$PWD/build/lodge}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill -9 $(jobs -p) 2> /dev/null; umount "$work/full" 2> /dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
export LODGE_HOME=$work/home LODGE_CACHE=$work/cache
errs=err
. "$here/common"
# refuses WORDS ARG...: exit code 125, one line on stderr (and where to look) that holds WORDS
refuses() {
	local words=$1
	shift
	timeout 30 "$LODGE" "$@" > out 2> err < /dev/null
	is "$*: exit code" [ $? = 125 ]
	is "$*: says '$words'" grep -qF -- "$words" err
	is "$*: one sentence" [ "$(grep -vc '^See ' err)" = 1 ]
	is "$*: begins with lodge:" [ "$(head -c 7 err)" = 'lodge: ' ]
}
says() { # WORDS ARG...: exit code 0 and WORDS on stdout
	local words=$1
	shift
	"$LODGE" "$@" > out 2> err < /dev/null
	is "$*: exit code" [ $? = 0 ]
	is "$*: says '$words'" grep -qF -- "$words" out
	is "$*: quiet" [ ! -s err ]
}

says 'Usage: lodge COMMAND'
says 'Usage: lodge COMMAND' --help
says 'Usage: lodge run' run --help
says 'Usage: lodge run' help run
says 'Usage: lodge image build' help image build
says 'lodge ' --version
says 'lodge ' version
says 'NAME' image ls
says 'UPLINK' network ls
says 'Usage: lodge network create' help network create
says 'a riscv64 guest ran' doctor
says 'instructions are translated' doctor
refuses "did you mean 'run'?" rnu
refuses "did you mean 'image'?" imgae ls
refuses "did you mean 'image build'?" image bulid
refuses 'image: which of' image
refuses 'network: which of' network
refuses '--isolated and --nat' network create --isolated --nat lan
refuses 'is not a rate' run --kernel x --cap-rate 10X
refuses '--net: none, and' run --kernel x --net none --net user
refuses 'more than 4 networks' run --kernel x --net user --net user --net user --net user --net user
refuses 'lodge network create lan' run --kernel x --net lan
refuses '--publish needs a network' run --kernel x --net tap:x -p 80:80
says 'NAME' volume ls
says 'some' volume create some
says '"used": false' volume inspect some
says 'some' volume ls -q
says '"name": "some"' volume ls --format json
refuses 'say so with --force' volume prune
refuses 'there is none' volume rm none
refuses 'a name is up to' volume create ../x
says 'some' volume prune --force
refuses 'volume: which of' volume
refuses 'no such folder' run --kernel x -v ./none:/x
refuses 'begins with /' run --kernel x -v some:x
refuses 'FOLDER:PLACE' run --kernel x -v some
refuses "did you mean '--memory'?" run --memroy 1G
refuses '--memory needs a value' run --memory
refuses 'with one CPU only' run --deterministic -c 2 --kernel x
refuses 'not with a network' run --deterministic --net user --kernel x
refuses 'one or the other' run --record x --replay x
refuses 'leave out --name' run --record x --name y
refuses 'leave out --name' run --record x -d
refuses 'debug the replay' run --record x --gdb 1
refuses 'the recording says' run --replay x -m 512M
refuses 'the recording says' run --replay x debian
refuses 'not a recording of a guest' run --replay "$LODGE"
refuses 'No such file' run --replay none
refuses "are run's" create --record x
refuses 'is not a size' run -m lots
refuses 'did you mean 512M?' run -m 512 --kernel x
refuses "--cpus: '0' is not a number of CPUs" run -c 0
refuses 'is not a size' run -m 0 --kernel x
refuses '--root: needs' --root '' image ls
refuses 'guests without a name' run --name unnamed-1 --kernel x
refuses 'unknown CPU' run --arch pdp11
refuses 'is not a name' run --name ../x --kernel x
refuses '--publish needs a network' run --net none -p 1:2
refuses 'a port is a number' run --kernel x -p 70000:1
refuses '--code-cache: 4096 bytes is not within 1M to 1000M' run --code-cache 4K --kernel x
refuses 'only --profile, --dump and --trace-cpu' run --symbols x --kernel x
refuses '/no/dump' run --dump /no/dump --kernel off
refuses '/no/names: No such file' run --profile --symbols /no/names --kernel off
refuses 'is not within' run --code-cache 2G --kernel x
refuses 'is not a size' run --code-cache much --kernel x
says 'NAME' stats
says '[' stats --format json
refuses 'neither table nor json' stats --format yaml
refuses 'only {{.Field}}' ps --format '{{range .}}'
refuses "no guest named 'nosuch'" stats nosuch
refuses 'is not the name of a guest' stats ../x
refuses 'no event matches' --trace 'nothing*' image ls
elf off 'li a0, 0x100000\nli a1, 0x5555\nsw a1, 0(a0)\n1: j 1b\n'
refuses 'there are insn[=WHERE]' run --net none --kernel off --trace-cpu nothing
refuses 'of what?' run --net none --kernel off --trace-cpu regs:trace
refuses 'no file behind the colon' run --net none --kernel off --trace-cpu insn:
refuses 'nosuch/trace' run --net none --kernel off --trace-cpu insn:nosuch/trace
refuses "nothing here is called 'main'" run --net none --kernel off --trace-cpu insn=main:trace
does '' run --net none --kernel off --trace-cpu insn=_start,regs:trace
is 'each instruction is told of' [ "$(wc -l < trace)" = 4 ]
is 'with what it did' grep -q 'lui.*a0,0x100 <_start+0x0> ; a0=0x100000$' trace
refuses 'insert FILE, or eject' media web load
refuses 'insert which file' media web insert
refuses 'eject takes no file' media web eject x
refuses "no guest named 'web'" media web eject
refuses 'try: lodge image build' run nosuchimage
refuses "no recipe for an image 'nosuch'" image build nosuch
refuses 'image nosuch' image rm nosuch
refuses "-O: unknown format 'pdf'" image convert -O pdf a b
refuses 'known are cluster_size' image convert -o colour=red a b
refuses '-b needs -F' image create -f qcow2 -b a b
refuses 'how large?' image create a
refuses 'can only be read' image create -f vhdx a 1M
refuses 'neither leaks nor all' image check -r some a
refuses 'nope: No such file' image info nope
refuses "unknown format 'iso'" run --kernel x --disk x,format=iso
refuses "there are if=virtio, nvme, sata and cdrom" run --kernel x --disk x,if=ide
refuses "there are disk and cdrom" run --kernel x --boot network
says 'file format: raw' image info "$LODGE"
says '"format": "raw"' image info --format json "$LODGE"

# wrong and damaged files
head -c 4096 /dev/zero > zeros
: > empty
truncate -s 3G huge
refuses 'nope: No such file' run --kernel nope
refuses 'empty' run --kernel empty
refuses 'zeros' run --kernel zeros
refuses 'made for' run --kernel "$LODGE"
refuses 'not a file' run --kernel /tmp
refuses 'nope' run --firmware nope
is 'nothing is left behind' [ -z "$(ls -A "$LODGE_HOME/guests" 2> /dev/null | grep -v '^\.')" ]
refuses 'nope' run --name web --kernel nope
is 'no folder of a guest that never ran' [ ! -e "$LODGE_HOME/guests/web" ]

# where nothing can be written
"$LODGE" help > /dev/full 2> err
is 'full standard output: exit code' [ $? = 125 ]
is 'full standard output: words' grep -q 'No space left' err
LODGE_HOME=/proc/nowhere refuses '/proc/nowhere' image ls
LODGE_HOME=/dev/null/x refuses '/dev/null' image ls

# several at once
mkdir -p "$LODGE_HOME"
for i in 1 2 3 4 5 6; do "$LODGE" image ls > "ls.$i" 2>&1 & done
wait
is 'six at once' [ "$(cat ls.* | sort -u | wc -l)" = 1 ]

# --- guests that only wait or end, on images put there by hand ---------------------------------
elfs
elf again 'li a2, 30000000\n1: addi a2, a2, -1\nbnez a2, 1b\nli a0, 0x100000\nli a1, 0x7777\nsw a1, 0(a0)\n1: j 1b\n'

head -c 1048576 /dev/urandom > disk
mkdir -p "$LODGE_HOME/images/hand"
echo "{ \"name\": \"hand\", \"arch\": \"riscv64\", \"kind\": \"vm\", \"created\": 1, \"memory\": 67108864,
	\"kernel\": { $(blob wait) }, \"disk\": { $(blob disk), \"format\": \"raw\" } }" \
	> "$LODGE_HOME/images/hand/riscv64.json"
run() { "$LODGE" run -m 64M "$@" < /dev/null; }
until_running() { # PID: it has built its guest once its memory is there
	for _ in $(seq 200); do
		grep -q memfd "/proc/$1/maps" 2> /dev/null && return
		sleep 0.05
	done
	bad "$1 did not start"
}
folders() { ls -A "$LODGE_HOME/guests" 2> /dev/null | grep -v '^\.'; }

says 'hand' image ls
says '"disk_format": "raw"' image inspect hand
run --kernel off > out 2> err
is 'power off: exit code 0' [ $? = 0 ]
run --kernel seven > out 2> err
is "the guest's exit code" [ $? = 7 ]
run --kernel off --net none -p 1:2 > out 2> err
is 'usage error of run: 125' [ $? = 125 ]

"$LODGE" run --name web hand < /dev/null > out.web 2> err.web &
web=$!
until_running $web
is 'its disk is its own' [ "$(ls "$LODGE_HOME/guests/web" | grep -c '^disk\.')" = 1 ]
refuses 'running' run --name web hand
cp disk shared
"$LODGE" run -m 64M --kernel wait --disk shared < /dev/null > /dev/null 2>&1 &
holder=$!
until_running $holder
refuses 'shared' run -m 64M --kernel wait --disk shared
refuses 'disk none.iso: no such file' run -m 64M --kernel wait --cdrom none.iso
kill -9 $holder
wait $holder 2> /dev/null
run --kernel off --disk shared > out 2> err
is 'a killed guest lets its disk go' [ $? = 0 ]
"$LODGE" run -m 64M --kernel wait --shared-disk shared < /dev/null > /dev/null 2>&1 &
holder=$!
until_running $holder
run --kernel off --shared-disk shared > out 2> err
is 'a shared disk is shared' [ $? = 0 ]
refuses 'in use by another guest' run -m 64M --kernel wait --disk shared
refuses 'in use by another guest' run -m 64M --kernel wait --disk shared,ro
refuses 'a raw one, to be written to' run -m 64M --kernel wait --shared-disk shared,ro
kill -9 $holder
wait $holder 2> /dev/null
kill $web
wait $web
is 'SIGTERM: exit code' [ $? = 143 ]
is 'its disk is kept' [ "$(ls "$LODGE_HOME/guests/web" | grep -c '^disk\.')" = 1 ]

# what running guests use: two at once, one killed, one that does not answer
"$LODGE" run --name web hand < /dev/null > out.web 2> err.web &
web=$!
"$LODGE" run -m 64M --kernel wait < /dev/null > /dev/null 2>&1 &
unnamed=$!
until_listening() { # NAME
	for _ in $(seq 200); do
		[ -S "$LODGE_HOME/run/$1" ] && return
		sleep 0.05
	done
	bad "$1 does not listen"
}
until_listening web
until_listening unnamed-1
says "$web" stats web
says 'web' stats -q
says 'unnamed-1' stats --no-stream
says 'tlb_misses' stats --engine web
"$LODGE" stats --format json > out 2> err
is 'stats: json' python3 -c '
import json, sys
all = {g["name"]: g for g in json.load(open("out"))}
assert sorted(all) == ["unnamed-1", "web"], all
assert [all["web"]["pid"], all["unnamed-1"]["pid"]] == [int(a) for a in sys.argv[1:]]
for g in all.values():
    assert g["memory_limit"] == 64 << 20 and 0 < g["memory_usage"] < 1 << 30
    assert g["cpus"] == 1 and 0 <= g["cpu_percent"] < 1000 and g["up_ns"] > 0
    assert g["counters"]["wfi_sleeps"] >= 1 and g["counters"]["instructions"] >= 1
' $web $unnamed
is 'stats: only the owner' [ "$(stat -c %a "$LODGE_HOME/run" "$LODGE_HOME/run/web" | xargs)" = "700 600" ]
for _ in $(seq 50); do head -c 100000 /dev/urandom | timeout 5 python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(sys.stdin.buffer.read())
    s.recv(1)
except OSError:
    pass' "$LODGE_HOME/run/web" & done > /dev/null 2>&1
wait $(jobs -p | grep -v -e $web -e $unnamed)
says "$web" stats web
says 'RESIDENT' top
says 'unnamed-1' top -b --sort name
is 'top: only who is named' [ -z "$("$LODGE" top -b web | grep unnamed)" ]
refuses "'speed': there are cpu, memory" top --sort speed
refuses "no guest named 'nosuch'" top nosuch
# its screen: given back by q, by a signal and by kill -9
cat > screen.py <<'END'
import fcntl, os, pty, select, signal, struct, sys, termios, time
lodge, how = sys.argv[1:3]
m, s = pty.openpty()
fcntl.ioctl(s, termios.TIOCSWINSZ, struct.pack("HHHH", 6, 60, 0, 0))
before = termios.tcgetattr(s)
pid = os.fork()
if not pid:
    os.setsid()
    fcntl.ioctl(s, termios.TIOCSCTTY, 0)
    for i in range(3):
        os.dup2(s, i)
    os.execv(lodge, ["lodge", "top", "-d", "1"])
out, asked, left = b"", False, b"\x1b[?25h\x1b[?1049l"
until = time.time() + 60
while time.time() < until and left not in out:
    if select.select([m], [], [], 0.1)[0]:
        out += os.read(m, 65536)
    if not asked and out.count(b"RESIDENT") >= 2:
        asked = True
        os.write(m, b"n" + how.encode()) if len(how) == 1 else os.kill(pid, int(how))
status = os.waitpid(pid, 0)[1]
code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
assert code == (0 if len(how) == 1 else -9 if how == "09" else 128 + int(how)), code
assert out.startswith(b"\x1b[?1049h") and out.endswith(left), out
frames = out.split(b"\x1b[H")[1:]
assert all(len(f.split(b"\n")) <= 6 for f in frames), frames
assert all(len(l.split(b"\x1b")[0]) <= 60 for f in frames for l in f.split(b"\n")), frames
assert termios.tcgetattr(s) == before
END
for how in q 15 02 09; do
	is "top: the terminal after $how" python3 screen.py "$LODGE" $how > out 2> err
done
kill -STOP $unnamed
is 'top: who is silent' [ "$("$LODGE" top -b | grep -c 'unnamed-1 *its monitor does not answer')" = 1 ]
"$LODGE" stats > out 2> err
is 'stats: exit code when one is silent' [ $? = 1 ]
is 'stats: who is silent' grep -q 'unnamed-1: its monitor does not answer' err
is 'stats: the other one' grep -q '^web' out
kill -9 $unnamed
wait $unnamed 2> /dev/null
is 'a killed guest leaves a name' [ -S "$LODGE_HOME/run/unnamed-1" ]
says 'web' stats
is 'which goes when it is asked' [ ! -e "$LODGE_HOME/run/unnamed-1" ]
kill -9 $web
wait $web 2> /dev/null
"$LODGE" run --name web hand < /dev/null > out.web 2> err.web &
web=$!
sleep 0.5
until_listening web
says "$web" stats web
kill $web
wait $web
is 'a guest that ended leaves no name' [ -z "$(ls -A "$LODGE_HOME/run")" ]
cat > fake.py <<'END'
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1] + ".new")
s.listen()
s.settimeout(60) # of who is not asked
os.rename(sys.argv[1] + ".new", sys.argv[1])
for answer in sys.argv[2:]:
    c = s.accept()[0]
    c.makefile("rb").readline()
    try:
        c.sendall(answer.encode() * (4096 if answer == "[" else 1 << 22 if answer == "x" else 1))
    except OSError:
        pass
    c.close()
END
for answer in nonsense '[' '[]' '{"error":"no"}' x ''; do
	python3 fake.py "$LODGE_HOME/run/fake" "$answer" &
	fake=$!
	until_listening fake
	"$LODGE" stats > out 2> err
	code=$?
	[ -n "$answer" ] || code=$((code + 1)) # hung up: it ended
	is "a monitor that says '$answer': exit code" [ $code = 1 ]
	wait $fake
	rm -f "$LODGE_HOME/run/fake"
done
python3 fake.py "$LODGE_HOME/run/fake" '{}' '{"counters":{"a\u001b[2J":[1],"b":{}, "c":-1},"pid":"x","cpu_ns":[]}' &
fake=$!
until_listening fake
"$LODGE" stats --engine > out 2> err
is 'a monitor with strange figures: exit code' [ $? = 0 ]
is 'a monitor with strange figures: cannot move the cursor' [ -z "$(tr -d '\n -~' < out)" ]
wait $fake
rm -f "$LODGE_HOME/run/fake"
python3 fake.py "$LODGE_HOME/run/fake" '{"disk_read":0,"net_sent":9,"cpu_ns":5}' \
	'{"disk_read":99000000000,"net_sent":3,"cpu_ns":5}' &
fake=$!
until_listening fake
"$LODGE" top -b > out 2> err
is 'top: rates' grep -qE '^fake +0\.0 +- +0\.0K +0\.0K +[0-9.]+G +0 +0 +0$' out
wait $fake
rm -f "$LODGE_HOME/run/fake"
run --kernel off --stats > out 2> err
is 'run --stats: says what it used' grep -q 's of CPU time' err
is 'run --stats: and counted' grep -q '^ *board_calls  *0$' err

refuses "'qemu': there are auto, jit" run --engine qemu --kernel off
refuses "kvm: it runs guests of this machine's own CPU" run --engine kvm --kernel off
mkdir -p "$LODGE_HOME/images/both" # whose kernels are all riscv64's, so that one sees what is tried
for a in riscv64 amd64; do
	echo "{ \"name\": \"both\", \"arch\": \"$a\", \"kind\": \"vm\", \"created\": 1, \"memory\": 67108864,
		\"kernel\": { $(blob off) } }" > "$LODGE_HOME/images/both/$a.json"
done
run --arch riscv64 both > out 2> err
is 'an image for the CPU that was asked for' [ $? = 0 ]
[ "$(uname -m)" != x86_64 ] || refuses 'this guest is x86-64' run both
rm -r "$LODGE_HOME/images/both"
refuses "'qemu': there are auto" run --arch amd64 --engine qemu --kernel off
refuses 'too small' run --arch amd64 -m 8M --kernel off
says '/dev/kvm' doctor
is 'doctor: says how KVM did' grep -qE '/dev/kvm +(not there|there, but not|present, but not|usable for guests)' out
if [ -z "${SAN:-}" ]; then # sanitizers need address space
	(
		ulimit -v 1500000
		run --code-cache 1000M --kernel off > out 2> err
	)
	is 'no room for code: it runs' [ $? = 0 ]
	is 'no room for code: a warning' grep -q 'instructions are interpreted' err
fi

# for those who look into the translator
elf hot 'li a2, 100000\n1: mv a0, a2\ncall work\naddi a2, a2, -1\nbnez a2, 1b\nli a0, 0x100000\nli a1, 0x5555\nsw a1, 0(a0)\n1: j 1b\nwork: addi a0, a0, 1\nret\n'
"$LODGE" run -m 64M --engine jit --code-cache 1M --stats --profile --dump dump --kernel hot \
	< /dev/null > out 2> err &
hot=$!
wait $hot
is 'profile: exit code' [ $? = 0 ]
is 'profile: the kernel names its code' grep -q '^[0-9a-f]* [0-9a-f]* work$' /tmp/perf-$hot.map
is 'profile: for its owner' [ "$(stat -c %a /tmp/perf-$hot.map)" = 600 ]
rm -f /tmp/perf-$hot.map
is 'stats: of translated code' grep -qE '^ *units +[1-9]' err
is 'stats: its room' grep -qE '^ *code_room +1048576$' err
is 'dump: which unit' grep -q '^==== unit 0x80200[0-9a-f]* work, cpu 0: 2 instructions' dump
is 'dump: guest code' grep -qP '^ *80200[0-9a-f]* > 0505 +c.addi\ta0,1$' dump
is 'dump: ir' grep -q '= add.i64 ' dump
is 'dump: host code' grep -qE '^ +[0-9a-f]+  (jmp|ret|jnz) ' dump
at=$(awk '/==== unit.* work,/ { print $3; exit }' dump)
run --engine jit --dump "some:$at" --kernel hot > out 2> err
is 'dump: of one address' [ "$(grep -c '^====' some)" = "$(grep -c "^ *${at#0x} " dump)" ]
"$LODGE" run --engine interp --profile --dump none --kernel off < /dev/null > out 2> err &
interp=$!
wait $interp
is 'nothing is translated by the interpreter' [ $? = 0 -a ! -s none ]
rm -f /tmp/perf-$interp.map
: > notadir
XDG_RUNTIME_DIR=$work LODGE_HOME=$work/notadir run --kernel off > out 2> err
is 'no place for a socket: it runs' [ $? = 0 ]
is 'no place for a socket: a warning' grep -q "will not see" err

# what a guest wrote is not thrown away because it cannot be started again
cp again kernel
timeout 60 "$LODGE" run --name dev --kernel kernel hand < /dev/null > out 2> err &
dev=$!
until_listening dev
"$LODGE" stats dev > out 2> err # it answers when it runs
: > kernel
wait $dev
is 'a reset without a kernel: exit code' [ $? = 125 ]
is 'a reset without a kernel: words' grep -q 'kernel: ' err
is 'a reset without a kernel: the disk stays' [ "$(ls "$LODGE_HOME/guests/dev" | grep -c '^disk\.')" = 1 ]
rm -rf "$LODGE_HOME/guests/dev"

# standard descriptors that are closed never become our files
cp disk plain
"$LODGE" run -m 64M --kernel loud --disk plain <&- >&- 2> err
is 'closed output: exit code' [ $? = 125 ]
is 'closed output: words' grep -q 'standard output: Bad file descriptor' err
is 'closed output: the disk is as it was' cmp -s disk plain
"$LODGE" run -m 64M --kernel off <&- > out 2>&-
is 'closed input and errors' [ $? = 0 ]

"$LODGE" run hand < /dev/null > out 2> err &
unnamed=$!
until_running $unnamed
is 'without a name it has no folder' [ "$(folders)" = web ]
kill -9 $unnamed
wait $unnamed 2> /dev/null
is 'and leaves nothing when killed' [ "$(folders)" = web ]

# output: to a reader that goes away, to a full disk, more than anybody reads
run --kernel loud 2> err | head -c 100000 > out
is 'reader gone: it ends' [ "${PIPESTATUS[0]}" = 125 ]
run --kernel loud > /dev/full 2> err
is 'full disk: it ends' [ $? = 125 ]
is 'full disk: words' grep -q 'No space left' err
run --kernel loud 2> err | sleep 4 &
sleep 1.5
is 'output nobody reads is bounded' [ "$(pgrep -f "$LODGE run -m 64M --kernel loud" |
	xargs -I{} awk '/VmRSS/ { print ($2 < 100000) }' /proc/{}/status)" = 1 ]
wait

# a store on a full disk: said, and as it was before
if mkdir full && mount -t tmpfs -o size=300k tmpfs full 2> /dev/null; then
	mkdir -p full/images/hand
	cp -r "$LODGE_HOME/images/hand" full/images/
	mkdir -p full/blobs/sha256
	cp "$LODGE_HOME"/blobs/sha256/"$(sha256sum < wait | cut -d' ' -f1)" full/blobs/sha256/
	ln -s "$work/disk" full/blobs/sha256/"$(sha256sum < disk | cut -d' ' -f1)"
	before=$(find full | sort)
	LODGE_HOME=$work/full refuses 'No space left' run --name big --disk-copy hand
	LODGE_HOME=$work/full refuses 'No space left' run --disk-copy hand
	is 'full disk leaves nothing' [ -z "$(ls -A full/guests | grep -v '^\.')" ]
	umount full
fi

# completion and manual pages come from the same tables
"$LODGE" completion bash > completion
is 'completion parses' bash -n completion
complete_words() { # WORD... -> what completes the last
	bash -c '. ./completion; PATH=$1:$PATH; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_lodge; echo "${COMPREPLY[*]}"' - "$(dirname "$LODGE")" "$@"
}
is 'completes commands' [ "$(complete_words lodge ru)" = run ]
is 'completes second words' [ "$(complete_words lodge image bu)" = build ]
is 'completes those of network' [ "$(complete_words lodge network cr)" = create ]
is 'completes options' [ "$(complete_words lodge run --kern)" = --kernel ]
is 'completes names of guests' [ "$(complete_words lodge stats --no)" = --no-stream ]
is 'completes choices' [ "$(complete_words lodge run --net us)" = user ]
mkdir man
is 'writes manual pages' sh -c "cd man && '$LODGE' help --man"
is 'a page a command' [ -s man/lodge-run.1 -a -s man/lodge-image-build.1 -a -s man/lodge.1 ]
if command -v mandoc > /dev/null; then
	is 'manual pages are correct' [ -z "$(mandoc -Tlint -Wwarning man/*.1 | grep -v 'missing date')" ]
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
