// A program that lets the kernel kill it for any call but read, write and exit (seccomp's strict mode), with large blocks, before
// any device is open: nothing is called for them that it does not call itself. With an argument it is that program.

#define _GNU_SOURCE
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define OK(call) CHECK((call) == 0)
enum { BYTES = 1 << 20 };

static void confined(int by_number) {
    char *at = malloc(BYTES);
    CHECK(at != NULL);
    memset(at, 7, BYTES);
    if (by_number)
        OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL));
    else
        OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
    if (read(0, at, BYTES) == 3 && syscall(SYS_read, 0, at + 3, 2) == 2 && write(1, at, 6) == 6)
        syscall(SYS_exit, 0);
    syscall(SYS_exit, 1);
}

static void runs(const char *how) {
    int in[2], out[2], status;
    char said[16] = {0};
    OK(pipe(in) | pipe(out));
    int pid = fork();
    if (pid == 0) {
        CHECK(dup2(in[0], 0) == 0 && dup2(out[1], 1) == 1);
        close(in[1]);
        execl("/proc/self/exe", "sandbox", how, NULL);
        _exit(1);
    }
    CHECK(write(in[1], "abc", 3) == 3);
    usleep(300000); // it waits for more
    CHECK(write(in[1], "de", 2) == 2);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(read(out[0], said, sizeof said) == 6 && strcmp(said, "abcde\7") == 0);
}
static void by_prctl(void) { runs("prctl"); }
static void by_number(void) { runs("number"); }

int main(int argc, char **argv) {
    if (argc > 1) confined(strcmp(argv[1], "number") == 0);
    alarm(600);
    PART(by_prctl);
    PART(by_number);
    return 0;
}
