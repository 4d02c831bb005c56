# what: a JVM: garbage collection, null pointers and deep stacks by the thousand (it answers SIGSEGV itself), threads, zip
# needs: java
# packages: openjdk-17-jdk-headless
# seconds: 720
prepare() { java --list-modules | grep -q jdk.compiler || skip "java without its compiler (apt install openjdk-17-jdk-headless)"; }
work() {
    for gc in UseSerialGC UseParallelGC UseG1GC; do
        under java -Xmx256m -XX:+$gc -Xshare:auto "$here/Work.java" "$(sized 40 10)"
    done
}
