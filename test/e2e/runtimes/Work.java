// Recursion, floats, a map, threads at one counter, strings, a digest: hot enough to be compiled.
import java.util.*;
public class Work {
  static long fib(int n) { return n < 2 ? n : fib(n-1) + fib(n-2); }
  public static void main(String[] a) throws Exception {
    long s = 0; for (int i = 0; i < 30; i++) s += fib(24);
    double d = 0; for (int i = 1; i < 3000000; i++) d += Math.sqrt(i) / (i + 0.5);
    HashMap<Integer,Integer> m = new HashMap<>(); for (int i = 0; i < 300000; i++) m.merge(i * 7919 % 10007, 1, Integer::sum);
    long h = 0; for (var e : m.entrySet()) h = h * 31 + e.getKey() * 17L + e.getValue();
    Thread[] t = new Thread[4]; long[] r = new long[4]; java.util.concurrent.atomic.AtomicLong c = new java.util.concurrent.atomic.AtomicLong();
    for (int k = 0; k < 4; k++) { int q = k; t[k] = new Thread(() -> { long x = q + 1; for (int i = 0; i < 200000; i++) { x = x * 6364136223846793005L + 1; c.incrementAndGet(); } r[q] = x; }); t[k].start(); }
    for (Thread x : t) x.join();
    StringBuilder b = new StringBuilder(); for (int i = 0; i < 20000; i++) { b.append(i * 31 % 97); if (b.length() > 5000) b.setLength(0); }
    byte[] data = new byte[1 << 16]; for (int i = 0; i < data.length; i++) data[i] = (byte)(i * i >> 3);
    java.security.MessageDigest md = java.security.MessageDigest.getInstance("SHA-256"); byte[] o = data; for (int i = 0; i < 40; i++) { md.update(o); o = md.digest(); md.update(data); }
    System.out.println(s + " " + Double.toHexString(d) + " " + h + " " + Arrays.toString(r) + " " + c + " " + b.toString().hashCode() + " " + HexFormat.of().formatHex(o));
  }
}
