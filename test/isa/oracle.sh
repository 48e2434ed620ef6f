#!/bin/bash
# Every computational instruction against qemu-user, operands gathered at the corners:
# test/isa/oracle.sh [CASES-PER-INSTRUCTION [SEED]]
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
cases=${1:-$([ -n "${LONG:-}" ] && echo 400000 || echo 50000)} seed=${2:-2025}
out=$BUILD/test/isa
mkdir -p "$out"

for tool in qemu-riscv64 riscv64-linux-gnu-gcc; do
	command -v $tool > /dev/null && continue
	echo "oracle: $tool is missing: run tools/deps --test"
	echo "0 passed, 1 failed"
	exit 1
done
${MAKE:-make} -s BUILD="$BUILD" CC="${CC:-gcc}" SAN="${SAN:-}" "$BUILD/oracle" &&
	riscv64-linux-gnu-gcc -O2 -static -Wall -Wextra -o "$out/guest" \
		test/isa/oracle_guest.c test/isa/oracle_run.S &&
	riscv64-linux-gnu-gcc -nostdlib -static -Wl,-Ttext=0x40010000 -Wl,--build-id=none \
		-o "$out/bare.elf" test/isa/oracle_bare.S test/isa/oracle_run.S &&
	riscv64-linux-gnu-objcopy -O binary "$out/bare.elf" "$out/bare" ||
	{ echo "0 passed, 1 failed"; exit 1; }

# Property names changed their case in the course of time.
cpu=rv64
printf 'int main(void) { return 0; }' | riscv64-linux-gnu-gcc -static -o "$out/nothing" -x c -
for e in zba zbb zbc zbs Zfh zfh Zfa zfa Zicond zicond x-zicond Zcb zcb Zawrs zawrs; do
	qemu-riscv64 -cpu $cpu,$e=true "$out/nothing" 2> /dev/null && cpu=$cpu,$e=true
done
echo "oracle: $(qemu-riscv64 --version | head -n 1), $cpu"
memory=$(mktemp)
trap 'rm -f "$memory"' EXIT
"$BUILD/oracle" "$out/guest" "$out/bare" "$memory" "$cases" "$seed" qemu-riscv64 -cpu $cpu
