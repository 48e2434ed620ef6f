i=0 sum=0
while [ $i -lt 20000 ]; do
	case $i in *7*) sum=$((sum + i)) ;; esac
	i=$((i + 1))
done
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
	/usr/bin/true && sum=$((sum + $(printf '%d' 0x$n)))
done
echo $sum
