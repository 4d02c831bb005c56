// Starts the runtime and says how that went: "status: message". With an argument: then moves a MiB there and back, and
// frees a pointer that is none of ours.

#include "check.h"

int main(int argc, char **argv) {
    (void)argv;
    char text[600];
    text[0] = '\0';
    hmm_status status = hmm_init(NULL);
    if (status != HMM_OK) hmm_last_error(text, sizeof text);
    printf("%d: %s\n", (int)status, text);
    if (status == HMM_OK && argc > 1) {
        size_t size = (size_t)1 << 20;
        volatile char *x = hmm_calloc(1, size);
        x[0] = 1;
        OK(hmm_migrate((char *)x, size, 0, NULL));
        x[0] = 2;
        hmm_free(text);
    }
    return 0;
}
