// Thousands of small objects on the device, and what is then done with them: kept, freed or touched.

#include <string.h>
#include <unistd.h>

#include "check.h"
#include "gpu_cuda.h"

#define OK(call) CHECK((call) == 0)
#define OBJECTS 20000

static unsigned char *objects[OBJECTS];

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "touch";
    handle context, module, add_bytes;
    look_up();
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuModuleLoadData(&module, ".version 6.0\n.target sm_70\n.visible .entry test_add_bytes()\n"));
    OK(cuModuleGetFunction(&add_bytes, module, "test_add_bytes"));
    for (int i = 0; i < OBJECTS; i++) {
        CHECK((objects[i] = malloc(64)) != NULL);
        memset(objects[i], i, 64);
    }
    // Many to a page, and none in one of its own.
    CHECK(((uintptr_t)objects[100] ^ (uintptr_t)objects[101]) < 4096);
    for (int i = 0; i < OBJECTS; i += 100) {
        address at = (address)objects[i];
        uint64_t count = 64;
        unsigned char value = 3;
        void *values[] = {&at, &count, &value};
        OK(cuLaunchKernel(add_bytes, 1, 1, 1, 64, 1, 1, 0, NULL, values, NULL));
    }
    OK(cuCtxSynchronize());
    if (strcmp(what, "free") == 0) {
        for (int i = 0; i < OBJECTS; i++) free(objects[i]);
    } else if (strcmp(what, "touch") == 0) {
        for (int i = 0; i < OBJECTS; i++) CHECK(objects[i][63] == (unsigned char)(i + (i % 100 == 0 ? 3 : 0)));
    }
    printf("all well\n");
    return 0;
}
