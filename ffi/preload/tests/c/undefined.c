// A program that is wrong: what tests/undefined.rs runs must be caught.

#include <limits.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    (void)argv;
    int *n = malloc(1 << 20);
    *n = INT_MAX;
    *n += argc;
    free(n);
    return 0;
}
