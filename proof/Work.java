// What a JVM does with signals and memory, so many rounds, each result printed.
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.LongStream;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

public class Work {
    static class Node {
        Node next;
        long value;
        byte[] payload;
    }

    // After a while the compiler leaves the test out, and a null pointer is a SIGSEGV that the JVM answers.
    static long follow(Node node) {
        return node.next.value + node.value;
    }

    static int deep(int n) {
        return n + deep(n + 1) % 7;
    }

    static long crc(ByteBuffer buffer) {
        CRC32 crc = new CRC32();
        crc.update(buffer.duplicate().rewind());
        return crc.getValue();
    }

    public static void main(String[] arguments) throws Exception {
        int rounds = Integer.parseInt(arguments[0]);

        Node node = new Node();
        node.next = new Node();
        long sum = 0;
        int nulls = 0;
        for (int i = 0; i < rounds * 20000; i++) {
            node.value = i;
            try {
                sum += follow(i % 1000 == 999 ? node.next : node);
            } catch (NullPointerException e) {
                nulls++;
            }
        }
        System.out.println("nulls " + nulls + " " + sum);

        int overflows = 0;
        for (int i = 0; i < rounds; i++) {
            try {
                sum += deep(0);
            } catch (StackOverflowError e) {
                overflows++;
            }
        }
        System.out.println("overflows " + overflows);

        List<Node> kept = new ArrayList<>();
        long total = 0;
        for (int i = 0; i < rounds * 3000; i++) {
            Node n = new Node();
            n.payload = new byte[500 + i % 4000];
            n.payload[i % 500] = (byte) i;
            n.value = i;
            total += n.payload.length;
            if (i % 50 == 0) {
                kept.add(n);
            }
        }
        System.out.println("garbage " + total + " " + kept.stream().mapToLong(n -> n.value).sum());

        Map<String, Integer> words = new HashMap<>();
        for (int i = 0; i < rounds * 10000; i++) {
            words.merge("w" + i * 7919L % 5003, 1, Integer::sum);
        }
        System.out.println("words " + words.size());
        System.out.println("parallel " + LongStream.range(0, rounds * 100000L).parallel().map(x -> x * x % 1009).sum());

        // Outside of the heap: from malloc.
        ByteBuffer[] direct = new ByteBuffer[8];
        for (int i = 0; i < direct.length; i++) {
            direct[i] = ByteBuffer.allocateDirect((i + 1) << 20);
            while (direct[i].remaining() >= 8) {
                direct[i].putLong(direct[i].position() * 31L + i);
            }
            System.out.println("direct " + i + " " + Long.toHexString(crc(direct[i])));
        }
        Thread[] threads = new Thread[4];
        long[] answers = new long[threads.length];
        for (int t = 0; t < threads.length; t++) {
            int me = t;
            threads[t] = new Thread(() -> {
                ByteBuffer mine = direct[4 + me];
                for (int round = 0; round < 5; round++) {
                    for (int i = 0; i + 8 <= mine.capacity(); i += 8) {
                        mine.putLong(i, mine.getLong(i) ^ (i * 0x9E3779B97F4A7C15L));
                    }
                }
                answers[me] = crc(mine);
            });
            threads[t].start();
        }
        for (int t = 0; t < threads.length; t++) {
            threads[t].join();
            System.out.println("thread " + t + " " + Long.toHexString(answers[t]));
        }

        byte[] text = "what repeats is small when it is packed ".repeat(rounds * 1000).getBytes();
        Deflater deflater = new Deflater(9);
        deflater.setInput(text);
        deflater.finish();
        byte[] packed = new byte[text.length];
        int length = deflater.deflate(packed);
        Inflater inflater = new Inflater();
        inflater.setInput(packed, 0, length);
        byte[] back = new byte[text.length];
        System.out.println("zip " + length + " " + inflater.inflate(back) + " " + java.util.Arrays.equals(text, back));

        Process process = new ProcessBuilder("cat").redirectErrorStream(true).start();
        Thread writer = new Thread(() -> {
            try (var out = process.getOutputStream()) {
                out.write(text);
            } catch (java.io.IOException e) {
                System.out.println(e);
            }
        });
        writer.start();
        byte[] answer = process.getInputStream().readAllBytes();
        writer.join();
        System.out.println("child " + process.waitFor() + " " + java.util.Arrays.equals(text, answer));
    }
}
