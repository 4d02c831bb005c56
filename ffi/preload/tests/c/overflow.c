// Handlers that use up an alternate stack which is little more than the kernel's frame: by SIGSEGV ends a program that has no handler
// for that, and one whose handler for that it is. The library's own runs on the same stack.

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { PAGE = 4096, STACK = 16 * PAGE, LEAST = 2048 /* that sigaltstack takes: MINSIGSTKSZ */ };
static char *stack;
static volatile size_t frame; // the kernel's, and what was on the stack of this program's handler

static void measure(int s) {
    (void)s;
    char here;
    frame = (size_t)(stack + STACK - &here);
}

__attribute__((noinline)) static int deep(int n) {
    volatile char room[100];
    room[n % 100] = (char)n;
    return frame == 0 ? 0 : deep(n + 1) + room[3];
}
static void overflow(int s) {
    deep(s);
}

static void use(void (*handler)(int), int signum, size_t size) {
    stack_t alternate = {.ss_sp = stack + STACK - size, .ss_size = size};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    CHECK(sigaltstack(&alternate, NULL) == 0 && sigaction(signum, &action, NULL) == 0);
}

static void ends(int signum, size_t left) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        // Below the stack's page there is nothing.
        size_t size = (frame + left + 15) / 16 * 16;
        if (size < LEAST) size = LEAST; // where the processor has few registers
        char *at = stack + STACK - size - PAGE;
        at -= (uintptr_t)at % PAGE;
        CHECK(mprotect(stack, (size_t)(at - stack) + PAGE, PROT_NONE) == 0);
        use(overflow, signum, size);
        if (signum == SIGSEGV) *(volatile int *)16 = 1;
        raise(signum);
        _exit(1);
    }
    int status = 0, waited = 0;
    for (; waited < 120000 && waitpid(child, &status, WNOHANG) == 0; waited++) usleep(1000);
    if (waited == 120000) kill(child, SIGKILL);
    CHECK(waited < 120000 && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void small_stacks(void) {
    use(measure, SIGUSR1, STACK);
    CHECK(raise(SIGUSR1) == 0 && frame > 0);
    for (size_t left = 500; left <= 2000; left += 250) {
        ends(SIGUSR1, left);
        ends(SIGSEGV, left);
    }
}

int main(void) {
    stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    PART(small_stacks);
    return 0;
}
