#!/bin/bash
# Every vector instruction, by each engine, against qemu-user, over all of vtype, masks, vl and vstart:
# test/isa/vector.sh [CASES-PER-INSTRUCTION [SEED]]; ONLY=vadd for some of them.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
cases=${1:-$([ -n "${LONG:-}" ] && echo 40000 || echo 3000)} seed=${2:-2025}
out=$BUILD/test/isa
mkdir -p "$out"

for tool in qemu-riscv64 riscv64-linux-gnu-gcc; do
	command -v $tool > /dev/null && continue
	echo "vector: $tool is missing: run tools/deps --test"
	echo "0 passed, 1 failed"
	exit 1
done
as=-Wa,-march=rv64gcv # gcc 12 has no such -march
${MAKE:-make} -s BUILD="$BUILD" CC="${CC:-gcc}" SAN="${SAN:-}" "$BUILD/vector" &&
	riscv64-linux-gnu-gcc -O2 -static -Wall -Wextra $as -o "$out/vector_guest" \
		test/isa/vector_guest.c test/isa/vector_run.S &&
	riscv64-linux-gnu-gcc -nostdlib -static -Wl,-Ttext=0x40010000 -Wl,--build-id=none $as \
		-o "$out/vector_bare.elf" test/isa/vector_bare.S test/isa/vector_run.S &&
	riscv64-linux-gnu-objcopy -O binary "$out/vector_bare.elf" "$out/vector_bare" ||
	{ echo "0 passed, 1 failed"; exit 1; }

cpu=rv64,v=true,vlen=128,elen=64
printf 'int main(void) { return 0; }' | riscv64-linux-gnu-gcc -static -o "$out/nothing" -x c -
for e in Zfh zfh Zvfh zvfh x-zvfh Zvbb zvbb; do
	qemu-riscv64 -cpu $cpu,$e=true "$out/nothing" 2> /dev/null && cpu=$cpu,$e=true
done
echo "vector: $(qemu-riscv64 --version | head -n 1), $cpu"
memory=$(mktemp)
trap 'rm -f "$memory"' EXIT
"$BUILD/vector" "$out/vector_guest" "$out/vector_bare" "$memory" "$cases" "$seed" qemu-riscv64 \
	-cpu $cpu 2>&1 | grep -v 'vector version is not specified'
exit "${PIPESTATUS[0]}"
