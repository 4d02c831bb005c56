# what: gcc compiles SQLite (260,000 lines in one file), ar and ld put it together, and it runs
# needs: gcc cargo
# packages: gcc libc6-dev; the source is libsqlite3-sys 0.30.1's, from crates.io
# seconds: 1200
# overhead
prepare() { sqlite_source; }
work() {
    mkdir out
    cp "$INPUT"/sqlite3.[ch] .
    under gcc -c -pipe -O0 -g "-ffile-prefix-map=$PWD=." sqlite3.c -o out/sqlite3.o
    under ar rcsD out/libsqlite3.a out/sqlite3.o
    printf '%s\n' '#include "sqlite3.h"' '#include <stdio.h>' 'int main(void) { puts(sqlite3_sourceid()); }' >main.c
    under gcc main.c -I. out/libsqlite3.a -lm -lpthread -ldl -o main
    ./main
    under gcc -S -O2 main.c -o out/main.s
}
