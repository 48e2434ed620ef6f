# What scripts do: dictionaries, lists, strings, closures, objects, exceptions, generators.
import json
import re


class Shape:
    def __init__(self, w, h):
        self.w, self.h = w, h

    def area(self):
        return self.w * self.h


class Square(Shape):
    def __init__(self, w):
        super().__init__(w, w)


def numbers(n):
    x = 1
    for _ in range(n):
        x = x * 16807 % 2147483647
        yield x


def adder(k):
    return lambda x: x + k


def words(n):
    count = {}
    for x in numbers(n):
        w = "w%d" % (x % 997)
        count[w] = count.get(w, 0) + 1
    return sorted(count.items(), key=lambda p: (-p[1], p[0]))[:5]


def primes(n):
    sieve = [True] * n
    for i in range(2, n):
        if sieve[i]:
            for j in range(i * i, n, i):
                sieve[j] = False
    return sum(sieve) - 2


def objects(n):
    shapes = [Square(x % 10) if x & 1 else Shape(x % 7, x % 5) for x in numbers(n)]
    return sum(s.area() for s in shapes)


def closures(n):
    fs = [adder(i) for i in range(10)]
    x = 0
    for i in range(n):
        x = fs[i % 10](x) & 0xFFFF
    return x


def strings(n):
    parts = []
    for x in numbers(n):
        parts.append(str(x)[::-1].replace("1", "one"))
    s = ",".join(parts)
    return len(s), len(re.findall(r"one\d", s)), s.count("23")


def errors(n):
    bad = 0
    for x in numbers(n):
        try:
            [1, 2, 3][x % 5]
        except IndexError:
            bad += 1
    return bad


def queens(n, row=0, cols=0, left=0, right=0):
    if row == n:
        return 1
    free, found = ~(cols | left | right) & ((1 << n) - 1), 0
    while free:
        bit = free & -free
        free ^= bit
        found += queens(n, row + 1, cols | bit, (left | bit) << 1, (right | bit) >> 1)
    return found


def documents(n):
    d = {"a": list(range(50)), "b": {str(x): x / 7 for x in range(50)}}
    for _ in range(n):
        d = json.loads(json.dumps(d, sort_keys=True))
    return round(sum(d["b"].values()), 6)


print(words(40000), primes(120000), objects(30000), closures(120000))
print(strings(24000), errors(40000), queens(8), documents(120))
