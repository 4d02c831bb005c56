// What the environment can do to a program with more rights than its user: nothing. Prints which backend and how much device
// memory it got, and whether it is such a program.

#define _GNU_SOURCE
#include <sys/auxv.h>
#include <unistd.h>

#include "check.h"

int main(void) {
    hmm_device_info_s info;
    info.struct_size = sizeof info;
    hmm_status status = hmm_init(NULL);
    char *block = status == HMM_OK ? hmm_malloc(100000) : NULL;
    int moved = 0;
    if (block != NULL) {
        memset(block, 7, 100000);
        moved = hmm_migrate(block, 100000, 0, NULL) == HMM_OK && block[99999] == 7;
    }
    if (status == HMM_OK) status = hmm_device_info(0, &info);
    printf("secure %lu user %d/%d init %d backend %s devices %d moved %d\n", getauxval(AT_SECURE), (int)getuid(),
           (int)geteuid(), (int)status, status == HMM_OK ? info.backend : "none", hmm_device_count(), moved);
    return 0;
}
