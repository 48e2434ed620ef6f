#!/bin/bash
# Bare-metal guests of our own, in Lodge and, where it is installed, in qemu-system-riscv64 as the
# independent oracle; then what a user sees of wrong files, exit codes and signals.
# Each guest prints PASS and FAIL lines, which are counted. LONG=1: the hostile guest for a minute,
# under sanitizers.
set -u
cd "$(dirname "$0")" || exit 1
root=$(cd ../.. && pwd)
build=${BUILD:-build}
[ "${build#/}" = "$build" ] && build=$root/$build
lodge=${LODGE:-$build/lodge}
export LODGE_HOT=${LODGE_HOT:-20} # places are to be translated
out=$build/test/guest
mkdir -p "$out"
cross=riscv64-linux-gnu-
passed=0 failed=0
cpus=2

good() { passed=$((passed + 1)); }
bad() {
	failed=$((failed + 1))
	echo "FAILED $*"
}

compile() { # name base flags...
	local name=$1 base=$2
	shift 2
	"${cross}gcc" -march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany -nostdlib -static \
		-ffreestanding -fno-pic -no-pie -O1 -Wall -Wextra -Werror -Wl,--build-id=none \
		-Wl,--no-warn-rwx-segments -Wl,--defsym=BASE="$base" -T link.ld "$@" \
		start.S rt.c "$name.c" -o "$out/$name.elf" || bad "$name: does not compile"
}

# Count a guest's lines. known: checks that what is not ours is known to fail.
count() { # program where status want log
	local program=$1 where=$2 status=$3 want=$4 log=$5 line name known=0
	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		PASS*) good ;;
		SKIP*) [ "$where" = qemu ] || echo "$program: $line" ;;
		FAIL*)
			name=${line#FAIL }
			name=${name%%: got 0x*}
			if [ "$where" != lodge ] && grep -qxF "$program: $name" oracle.txt; then
				known=1
			else
				bad "$program in $where: $name"
			fi
			;;
		esac
	done < "$log"
	grep -q '^done' "$log" || bad "$program in $where: no end (see $log)"
	[ "$status" = "$want" ] || [ $known = 1 ] || bad "$program in $where: exit code $status"
}

lodge_runs() { # program log-suffix want options...
	local program=$1 where=lodge log=$out/$1.$2 want=$3 status
	[ "${2#fw_}" = "$2" ] || where=firmware
	shift 3
	timeout 60 "$lodge" run --net none -m 64M -c "$cpus" "$@" < /dev/null > "$log" 2> "$log.err"
	status=$?
	count "$program" $where $status "$want" "$log"
}
engines_run() { # program want options...
	local program=$1 want=$2 engine
	shift 2
	for engine in jit interp check; do
		lodge_runs "$program" $engine "$want" --engine $engine "$@"
	done
}
qemu=$(command -v qemu-system-riscv64)
qemu_runs() { # program want options...
	local program=$1 log=$out/$1.qemu want=$2 status
	[ -n "$qemu" ] || return
	shift 2
	timeout 60 "$qemu" -M virt -cpu rv64,svnapot=on,svpbmt=on -smp "$cpus" -m 64M -nographic "$@" \
		< /dev/null > "$log" 2> "$log.err"
	status=$?
	count "$program" qemu $status "$want" "$log"
}

for t in traps deleg paging pmp irq mem counters smp; do
	compile $t 0x80000000
	if [ $t = counters ]; then # exact where instructions are counted
		lodge_runs $t interp 0 --engine interp --firmware "$out/$t.elf"
		lodge_runs $t check 0 --engine check --firmware "$out/$t.elf"
		compile $t 0x80000000 -DAPPROX
		lodge_runs $t jit 0 --engine jit --firmware "$out/$t.elf"
		compile $t 0x80000000
	else
		engines_run $t 0 --firmware "$out/$t.elf"
	fi
	qemu_runs $t 0 -bios "$out/$t.elf"
done
compile lrsc 0x80000000 -DROUNDS=20 # harts that wait for each other take turns there
lodge_runs lrsc check 0 --engine check --firmware "$out/lrsc.elf"
compile lrsc 0x80000000
lodge_runs lrsc jit 0 --engine jit --firmware "$out/lrsc.elf"
lodge_runs lrsc interp 0 --engine interp --firmware "$out/lrsc.elf"
qemu_runs lrsc 0 -bios "$out/lrsc.elf"
compile hot 0x80000000 -DPAGES=200
lodge_runs hot check 0 --engine check --firmware "$out/hot.elf"
compile hot 0x80000000
lodge_runs hot jit 0 --engine jit --firmware "$out/hot.elf"
lodge_runs hot interp 0 --engine interp --firmware "$out/hot.elf"
qemu_runs hot 0 -bios "$out/hot.elf"
cpus=4
compile hotsmp 0x80000000
engines_run hotsmp 0 --firmware "$out/hotsmp.elf"
qemu_runs hotsmp 0 -bios "$out/hotsmp.elf"
cpus=2
cpus=1
for t in traps paging irq mem counters hot; do # every engine prints and counts the same
	[ $t != hot ] || compile $t 0x80000000 -DPAGES=200
	for engine in jit interp check; do
		lodge_runs $t steady.$engine 0 --engine $engine --deterministic --stats \
			--firmware "$out/$t.elf"
		grep '^    instructions' "$out/$t.steady.$engine.err" >> "$out/$t.steady.$engine"
		cmp -s "$out/$t.steady.jit" "$out/$t.steady.$engine" && good ||
			bad "$t: deterministic by $engine is not as by jit"
	done
done
cpus=2
compile hotsbi 0x80200000 -DSMODE
engines_run hotsbi 0 --kernel "$out/hotsbi.elf"
compile reset 0x80000000
engines_run reset 42 --firmware "$out/reset.elf"
qemu_runs reset 42 -bios "$out/reset.elf"
compile sbi 0x80200000 -DSMODE
engines_run sbi 0 --kernel "$out/sbi.elf"
gzip -c "$out/sbi.elf" > "$out/sbi.gz"
lodge_runs sbi gzip 0 --kernel "$out/sbi.gz"
opensbi=/usr/lib/riscv64-linux-gnu/opensbi/generic
if [ -f $opensbi/fw_dynamic.bin ]; then
	lodge_runs sbi fw_dynamic 0 --firmware $opensbi/fw_dynamic.bin --kernel "$out/sbi.elf"
	lodge_runs sbi fw_jump 0 --firmware $opensbi/fw_jump.elf --kernel "$out/sbi.elf"
	qemu_runs hotsbi 0 -bios $opensbi/fw_dynamic.bin -kernel "$out/hotsbi.elf"
	qemu_runs sbi 0 -bios $opensbi/fw_dynamic.bin -kernel "$out/sbi.elf"
fi

uboot=/usr/lib/u-boot/qemu-riscv64/u-boot.bin
if [ -f $uboot ]; then
	log=$out/u-boot.lodge
	(sleep 1; for i in 1 2 3 4 5 6 7 8; do echo; sleep 1; done; echo poweroff; sleep 5) |
		timeout 60 "$lodge" run --net none -m 128M --firmware $uboot > "$log" 2>&1
	grep -q '^=> ' "$log" && good || bad "U-Boot: no prompt (see $log)"
fi

# Harm, with and without sanitizers.
truncate -s 16M "$out/disk.raw"
if [ -n "${LONG:-}" ]; then
	make -s -C "$root" SAN=address,undefined build-address-undefined/lodge ||
		bad "hostile: no sanitizer build"
	lodge=$root/build-address-undefined/lodge
	compile hostile 0x80000000 -DSECONDS=60
else
	compile hostile 0x80000000 -DSECONDS=3
fi
log=$out/hostile.lodge
timeout 200 "$lodge" run -m 64M -c 2 --no-balloon --disk "$out/disk.raw" --firmware "$out/hostile.elf" \
	< /dev/null > "$log" 2> "$log.err"
status=$?
tr '\0\r' '\n\n' < "$log" | grep -a -A4 '^PASS there were devices' > "$log.end"
count hostile lodge $status 0 "$log.end"
# With a balloon it may give its own code away, and then comes to no end; its monitor must, when asked.
timeout --kill-after=30 8 "$lodge" run -m 64M -c 2 --disk "$out/disk.raw" --firmware "$out/hostile.elf" \
	< /dev/null > "$log" 2> "$log.err"
status=$?
if [ $status = 0 ] || [ $status = 124 ]; then
	good
else
	bad "hostile with a balloon: $status: $(tail -n 3 "$log.err")"
fi

# Wrong files and wishes: one sentence, exit code 125.
refuses() { # words options...
	local words=$1 err status
	shift
	err=$(timeout 30 "$lodge" run --net none "$@" 2>&1 > /dev/null < /dev/null)
	status=$?
	if [ $status = 125 ] && [ "$(wc -l <<< "$err")" = 1 ] && grep -qF -- "$words" <<< "$err"; then
		good
	else
		bad "refusal of $*: exit code $status: $err"
	fi
}
head -c 200 "$out/sbi.elf" > "$out/cut.elf"
head -c 1000 "$out/sbi.gz" > "$out/cut.gz"
: > "$out/empty"
truncate -s 65M "$out/big"
refuses "No such file" --kernel "$out/nothing"
refuses "not a file" --kernel "$out"
refuses "the file is empty" --kernel "$out/empty"
refuses "made for x86-64, this guest is riscv64" --kernel "$lodge"
refuses "cut short" --kernel "$out/cut.elf"
refuses "cut short" --kernel "$out/cut.gz"
refuses "neither a RISC-V Image nor an ELF file" --kernel run.sh
refuses "do not fit into 64 MiB" -m 64M --kernel "$out/sbi.elf" --initrd "$out/big"
refuses "the file is empty" --kernel "$out/sbi.elf" --initrd "$out/empty"
refuses "No such file" --kernel "$out/sbi.elf" --initrd "$out/nothing"
refuses "it needs a kernel" --firmware "$out/traps.elf" --initrd "$out/big"
refuses "made for x86-64" --firmware "$lodge"
refuses "there can be 1 to 8" -c 9 --kernel "$out/sbi.elf"
refuses "too small" -m 8M --kernel "$out/sbi.elf"
refuses "not a multiple" -m 67000K --kernel "$out/sbi.elf"
refuses "goes where firmware" --firmware "$out/traps.elf" --kernel "$out/smp.elf"

# A signal ends it, at once and with its own exit code.
compile spin 0x80000000
for signal in TERM INT HUP; do
	"$lodge" run --net none -m 64M -c 2 --firmware "$out/spin.elf" \
		< /dev/null > "$out/spin.log" 2>&1 &
	pid=$!
	for i in $(seq 100); do grep -q spinning "$out/spin.log" && break; sleep 0.1; done
	kill -$signal $pid
	wait $pid
	status=$?
	[ $status = $((128 + $(kill -l $signal))) ] && good || bad "SIG$signal: exit code $status"
done

echo "$passed passed, $failed failed"
[ $failed = 0 ]
