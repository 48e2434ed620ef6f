#!/bin/bash
# Disk images against qemu-img: what it makes is read, what we make and write it finds good, also
# when we are killed in the middle. ROUNDS says how often that is.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build} ROUNDS=${ROUNDS:-${LONG:+100}}
LODGE=${LODGE:-$PWD/$BUILD/lodge}
${MAKE:-make} -s "$BUILD/diskops" > /dev/null || exit 1
ops=$PWD/$BUILD/diskops top=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0 failed=0

is() { # WHAT COMMAND...: it succeeds
	local what=$1
	shift
	if "$@" > out 2> err; then passed=$((passed + 1)); return; fi
	failed=$((failed + 1))
	echo "FAILED: $what: $*"
	head -n 3 out err | sed 's/^/    /'
}
refused() { # WORDS ARG...: exit code 125 and WORDS on stderr
	local words=$1
	shift
	"$LODGE" "$@" > out.kept 2> err.kept < /dev/null
	is "$*: exit code" [ $? = 125 ]
	is "$*: says '$words' and not '$(head -c 200 err.kept)'" grep -qF -- "$words" err.kept
}
sound() { # FORMAT FILE: leaks are no damage
	qemu-img check -q -f "$1" "$2" > check.out 2>&1
	local code=$?
	[ $code = 0 ] || [ $code = 3 ] || [ $code = 63 ] || { head -n 3 check.out; return 1; }
}
clean() { qemu-img check -q -f "$1" "$2" && { [ "$1" != qcow2 ] || "$LODGE" image check "$2"; }; }

python3 - << 'END'
import random
random.seed(3)
size = 24 * 1024 * 1024 + 512 * 3
with open('raw.img', 'wb') as f:
    f.truncate(size)
    for i in range(120):
        f.seek(random.randrange(size) // 512 * 512)
        f.write((bytes([random.randrange(256)]) * 300 + random.randbytes(212)) * random.randrange(1, 100))
    f.truncate(size)
END

printf '.globl _start\n_start: li a0, 0x100000\nli a1, 0x5555\nsw a1, 0(a0)\n1: j 1b\n' > off.S
is 'a kernel' riscv64-linux-gnu-gcc -nostdlib -static -march=rv64gc -Wl,-Ttext=0x80200000 \
	-Wl,--build-id=none -o off off.S

# --- what qemu-img makes, read ------------------------------------------------------------------
back() { # FORMAT FILE WHAT
	is "$3: read" "$LODGE" image convert -f "$1" -O raw "$2" back.raw
	is "$3: the same" cmp raw.img back.raw
}
for o in cluster_size=512 cluster_size=4k cluster_size=64k cluster_size=2M refcount_bits=1 refcount_bits=2 \
	refcount_bits=64 compat=0.10 compression_type=zstd lazy_refcounts=on preallocation=metadata; do
	for c in '' -c; do
		[ "$c$o" != -cpreallocation=metadata ] || continue
		is "make $o" qemu-img convert -f raw -O qcow2 $c -o $o raw.img a.qcow2
		back qcow2 a.qcow2 "qcow2 $o $c"
		is "qcow2 $o $c: check" "$LODGE" image check a.qcow2
	done
done
for o in vmdk:subformat=monolithicSparse vmdk:subformat=streamOptimized vmdk:zeroed_grain=on vdi:static=off \
	vdi:static=on vpc:subformat=dynamic,force_size=on vpc:subformat=fixed,force_size=on \
	vhdx:subformat=dynamic vhdx:subformat=fixed vhdx:block_size=1M; do
	is "make $o" qemu-img convert -f raw -O "${o%%:*}" -o "${o#*:}" raw.img a.img
	back "${o%%:*}" a.img "$o"
	looks=$("$LODGE" image info --format json a.img | sed -n 's/.*"format": "\(.*\)".*/\1/p')
	is "$o looks like $looks" [ "${looks/vhd/vpc}" = "$(echo ${o%%:*} | sed s/vhdx/vpcx/)" ]
done
is 'vhd by geometry' qemu-img convert -f raw -O vpc raw.img a.img
is 'vhd by geometry: read' "$LODGE" image convert -f vhd a.img back.raw
is 'vhd by geometry: raw' qemu-img convert -f vpc -O raw a.img other.raw
is 'vhd by geometry: the same' cmp other.raw back.raw

# --- what we make, read by qemu-img ---------------------------------------------------------------
ours() { # FORMAT OPTION...
	is "convert to $*" "$LODGE" image convert -f raw -O "$@" raw.img o.img
	is "$*: qemu sees the same" qemu-img compare -f raw -F "$1" raw.img o.img
	[ "$1$3" = vmdksubformat=streamOptimized ] || is "$*: clean" clean "$1" o.img
	is "$*: we see the same" "$LODGE" image compare -f raw -F "$1" raw.img o.img
}
for size in 512 4K 64K 2M; do
	ours qcow2 -o cluster_size=$size
	ours qcow2 -o cluster_size=$size -c
	ours qcow2 -o cluster_size=$size,compression_type=zstd -c
done
ours qcow2 -o compat=0.10 -c
ours vmdk -o subformat=monolithicSparse
ours vmdk -o subformat=streamOptimized
is 'a stream is read back' "$LODGE" image compare -f raw -F vmdk raw.img o.img
is 'a stream ends with a footer' sh -c "tail -c 1024 o.img | head -c 4 | grep -q KDMV"
ours vdi -o compat=1.1
is 'compare finds a difference' sh -c "printf x | dd of=raw.img conv=notrunc bs=1 seek=1000 2> /dev/null
	! '$LODGE' image compare -f raw -F vdi raw.img o.img"

# --- random load, by qemu's images of every shape ---------------------------------------------------
load() { # WHAT FORMAT STEPS: on disk.img, which has been made
	seed=$((seed + 1))
	is "$1: load" "$ops" load disk.img "$2" $seed "$3" model.raw
	is "$1: qemu sees the model" qemu-img compare -f raw -F "$2" model.raw disk.img
	is "$1: clean" clean "$2" disk.img
	rm -f disk.img
}
seed=10
for o in cluster_size=512 cluster_size=4k cluster_size=64k cluster_size=2M refcount_bits=1 refcount_bits=4 \
	refcount_bits=8 refcount_bits=32 compat=0.10 lazy_refcounts=on preallocation=metadata \
	cluster_size=512,refcount_bits=64; do
	is "make $o" qemu-img create -q -f qcow2 -o $o disk.img 9M
	load "qcow2 $o" qcow2 150
done
is 'packed' qemu-img convert -c -f raw -O qcow2 raw.img disk.img
load 'over packed clusters' qcow2 120
is 'packed, tiny' qemu-img convert -c -f raw -O qcow2 -o cluster_size=512 raw.img disk.img
load 'over tiny packed clusters' qcow2 60
for o in compat=1.1 compat=0.10 cluster_size=512 cluster_size=1M; do
	is 'over raw' qemu-img create -q -f qcow2 -o $o -b raw.img -F raw disk.img 30M
	cp raw.img raw.kept
	load "layer $o" qcow2 150
	is "layer $o: what is behind is untouched" cmp raw.img raw.kept
done
is 'our layer' "$LODGE" image create -f qcow2 -b raw.img -F raw middle.qcow2
is 'its layer' qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 disk.img
load 'two layers' qcow2 150
for f in 2M 64k 512; do
	is 'with snapshots' qemu-img create -q -f qcow2 -o cluster_size=$f disk.img 9M
	is 'first load' "$ops" load disk.img qcow2 5 60 one.raw
	is 'snapshot one' qemu-img snapshot -c one disk.img
	is 'second load' "$ops" load disk.img qcow2 6 60 two.raw
	is 'snapshot two' qemu-img snapshot -c two disk.img
	cp disk.img kept.img
	is 'third load' "$ops" load disk.img qcow2 7 100 model.raw
	is 'snapshots: the same' qemu-img compare -f raw -F qcow2 model.raw disk.img
	is 'snapshots: clean' clean qcow2 disk.img
	for s in one two; do
		is "snapshot $s: we read it" "$LODGE" image convert -f qcow2 -l $s disk.img back.raw
		is "snapshot $s: untouched" cmp $s.raw back.raw
	done
	is 'snapshots are listed' sh -c "'$LODGE' image info disk.img | grep -c -E '^[12] +(one|two) ' | grep -qx 2"
	is 'qemu goes back to one' qemu-img snapshot -a one disk.img
	is 'snapshot one: untouched' qemu-img compare -f raw -F qcow2 one.raw disk.img
	rm -f disk.img
done
for f in vmdk vdi; do
	is "make $f" qemu-img create -q -f $f disk.img 9M
	load "$f of qemu's" $f 100
	is "make $f" "$LODGE" image create -f $f disk.img 9M
	load "our $f" $f 100
done

# --- killed in the middle ---------------------------------------------------------------------------
rounds() { # WHAT FORMAT N: of disk.img
	rm -f state
	for i in $(seq "$3"); do
		seed=$((seed + 1))
		{
			"$ops" crash disk.img "$2" $seed state > out 2> err
			code=$?
		} 2> /dev/null
		[ $code = 137 ] || is "$1: round $i: ended by itself: $(cat err)" false
		is "$1: round $i: sound" sound "$2" disk.img
		is "$1: round $i: nothing lost" "$ops" verify disk.img "$2" state
	done
	is "$1: leaks are mended" "$LODGE" image check -r leaks disk.img
	is "$1: clean then" clean "$2" disk.img
	rm -f disk.img
}
n=${ROUNDS:-12}
is make qemu-img create -q -f qcow2 disk.img 30M
rounds qcow2 qcow2 "$n"
is make qemu-img create -q -f qcow2 -o cluster_size=512 disk.img 8M
rounds 'tiny clusters' qcow2 "$n"
truncate -s 20M zero.raw
is make qemu-img create -q -f qcow2 -b zero.raw -F raw -o lazy_refcounts=on disk.img 30M
rounds 'a layer' qcow2 "$n"
is make qemu-img create -q -f qcow2 -o cluster_size=4k disk.img 20M
is snapshot qemu-img snapshot -c early disk.img
rounds 'a snapshot inside' qcow2 "$n"

# --- the power goes: what a sanitizer has preloaded itself stands in the way of this ------------------
if [ -z "${SAN:-}" ]; then
	is 'the journal' "${CC:-gcc}" -O1 -shared -fPIC -D_GNU_SOURCE -o journal.so "$top/test/blk/journal.c"
	python3 -B "$top/test/blk/powerloss.py" "$ops" "$work/journal.so" $((n / 2)) > power.out 2>&1
	is "the power goes: $(grep -m 3 FAILED power.out)" grep -q '^[1-9][0-9]* passed, 0 failed$' power.out
fi

# --- damage, mended -----------------------------------------------------------------------------------
poke() { printf "$3" | dd of="$1" conv=notrunc bs=1 seek="$2" 2> /dev/null; } # FILE OFFSET BYTES
is make qemu-img convert -f raw -O qcow2 raw.img disk.img
poke disk.img 131092 '\0\0\0\0\0\0'
"$LODGE" image check disk.img > out
is 'lost counts are found' [ $? = 2 ]
is 'and mended' "$LODGE" image check -r all disk.img
is 'so that qemu agrees' clean qcow2 disk.img
is 'nothing else changed' qemu-img compare -f raw -F qcow2 raw.img disk.img
poke disk.img 131092 '\0\0\0\0\0\0'
poke disk.img 79 '\1'
is 'a dirty image is mended when opened' "$ops" load disk.img qcow2 1 20 model.raw
is 'so that qemu agrees' clean qcow2 disk.img
poke disk.img 79 '\2'
refused 'is marked corrupt' run --kernel off --disk disk.img,format=qcow2
is 'corrupt images can be read' "$LODGE" image convert -f qcow2 disk.img back.raw
is 'the mark goes' "$LODGE" image check -r all disk.img
is 'it can be written again' "$ops" load disk.img qcow2 1 20 model.raw

# --- sizes --------------------------------------------------------------------------------------------
for o in cluster_size=512 cluster_size=64k compat=0.10; do
	is make qemu-img create -q -f qcow2 -o $o disk.img 1000K
	is 'fill' "$ops" load disk.img qcow2 3 40 model.raw
	is 'grow' "$LODGE" image resize disk.img 5G
	truncate -s 5G model.raw
	is "$o: grown: the same" qemu-img compare -f raw -F qcow2 model.raw disk.img
	is "$o: grown: clean" clean qcow2 disk.img
	refused '--shrink' image resize disk.img 300K
	is 'shrink' "$LODGE" image resize --shrink disk.img 300K
	is 'grow again' "$LODGE" image resize disk.img +700K
	truncate -s 300K model.raw
	truncate -s 1000K model.raw
	is "$o: what was cut off is zero" qemu-img compare -f raw -F qcow2 model.raw disk.img
	is "$o: clean" clean qcow2 disk.img
	rm disk.img
done
is make "$LODGE" image create disk.img 1M
is 'grow raw' "$LODGE" image resize -f raw disk.img 2M
is 'raw grown' [ "$(stat -c %s disk.img)" = 2097152 ]
is 'make large' "$LODGE" image create -f qcow2 -o cluster_size=512 large.qcow2 64G
is 'large: clean' clean qcow2 large.qcow2

# --- what must not be ---------------------------------------------------------------------------------
is make qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw evil.qcow2 1M
refused "lies over '/etc/shadow'" run --kernel off --disk evil.qcow2,format=qcow2
refused "lies over '/etc/shadow'" image convert evil.qcow2 back.raw
is 'what it names is told' sh -c "'$LODGE' image info evil.qcow2 | grep -qx 'backing file: /etc/shadow'"
is make qemu-img create -q -f qcow2 -u -b 'json:{"driver":"file","filename":"/etc/passwd"}' -F raw evil.qcow2 1M
refused 'is no plain file' image convert --backing evil.qcow2 back.raw
is make qemu-img create -q -f qcow2 -o data_file=raw.img evil.qcow2 1M
refused 'keeps its data in another file' image info evil.qcow2
rm -f evil.qcow2
is make qemu-img create -q -f qcow2 -o extended_l2=on evil.qcow2 1M
refused 'extended L2' image info evil.qcow2
printf '# Disk DescriptorFile\nversion=1\nRW 100 FLAT "/etc/shadow" 0\n%600s' ' ' > evil.vmdk
refused 'keeps its data in other files' image info evil.vmdk
bad() { # WORDS OFFSET BYTES: of a good image's header
	qemu-img create -q -f qcow2 bad.qcow2 1M
	poke bad.qcow2 "$2" "$3"
	refused "$1" image info -f qcow2 bad.qcow2
}
bad 'no qcow2 image' 0 X
bad 'version 9' 7 '\11'
bad 'clusters of 2^0 bytes' 23 '\0'
bad 'clusters of 2^63 bytes' 23 '\77'
bad 'L1 table of' 36 '\377\377\377\377'
bad 'L1 table of' 24 '\177'
bad 'L1 table is at' 47 '\1'
bad 'L1 table cannot be read' 43 '\377'
bad 'refcount table' 48 '\177'
bad 'refcount table' 56 '\377'
bad 'snapshots' 60 '\377'
bad 'feature unknown' 72 '\200'
bad 'refcounts of 2^7 bits' 99 '\7'
bad 'its length is' 100 '\377'
bad "backing file's name" 15 '\200\0\0\377\377'
bad 'encrypted' 35 '\1'
is make qemu-img create -q -f qcow2 self.qcow2 1M
is rebase qemu-img rebase -u -b self.qcow2 -F qcow2 self.qcow2
refused 'more than 64' image convert --backing self.qcow2 back.raw
refused 'looks like qcow2' run --kernel off --disk self.qcow2
refused "unknown format 'qcow'" run --kernel off --disk self.qcow2,format=qcow
refused 'can only be read' run --kernel off --disk self.qcow2,format=vhdx
refused 'is no vmdk image' image info -f vmdk self.qcow2
refused 'needs -F' image create -f qcow2 -b raw.img x.qcow2
refused 'File exists' image create -f qcow2 self.qcow2 1M
refused 'keep their size' image resize o.img 1G
is 'a failed conversion leaves nothing' [ -z "$(ls ./*.part* 2> /dev/null)" ]

echo "$passed passed, $failed failed"
[ $failed = 0 ]
