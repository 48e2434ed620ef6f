{
	sum += $1
	for (i = 2; i <= NF; i++) {
		count[$i]++
		if ($i ~ /^b.*a$/) found++
	}
	gsub(/a/, "o")
	long += length($0)
}
END {
	for (w in count) if (count[w] > most) most = count[w]
	printf "%d %d %d %d %d\n", sum, found, long, most, length(count)
}
