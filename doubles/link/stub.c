/* What programs link that use the crates `cust` or `hip-sys` where the driver's development files are not installed: a
 * library of jumps. The first call of a function loads the driver and finds the function there; where there is no driver
 * it answers "no device". So the program builds and starts everywhere, and names no driver that must be there (no NEEDED
 * entry).
 *
 *     cc -c -O2 -fPIC -DDRIVER=cuda stub.c && ar rcs libcuda.a stub.o
 *     cc -c -O2 -fPIC -DDRIVER=hip stub.c && ar rcs libamdhip64.a stub.o
 *
 * Every function is two loads and a jump, so that its arguments, of whatever number and type, stay where they are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
/* A program may link both. */
#define TABLE PASTE(hmmrt_link_table_, DRIVER)
#define FIND PASTE(hmmrt_link_find_, DRIVER)
#define FIRST PASTE(hmmrt_link_first_, DRIVER)

#define cuda 1
#define hip 2
#if DRIVER == cuda
#define FUNCTIONS "cuda.def"
static const char *const libraries[] = {"libcuda.so.1"};
#elif DRIVER == hip
#define FUNCTIONS "hip.def"
static const char *const libraries[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"};
#else
#error "DRIVER must be cuda or hip"
#endif
#undef cuda
#undef hip

enum {
#define F(name) INDEX_##name,
#include FUNCTIONS
#undef F
    COUNT
};

static const char *const names[] = {
#define F(name) #name,
#include FUNCTIONS
#undef F
};

/* Where the functions are; NULL: not looked for yet. */
__attribute__((visibility("hidden"))) void *TABLE[COUNT];

/* What stands for a function of a driver that is not there: both drivers' code for "no device" ... */
static int no_device(void) { return 100; }
/* ... or, of the few that return a text, one. */
static const char *no_text(void) { return "there is no driver"; }
/* What stands for a function that this driver lacks: both drivers' code for "not supported". */
static int not_supported(void) { return 801; }

static int returns_text(const char *name) {
    static const char *const some[] = {"hipGetErrorName", "hipGetErrorString", "hipApiName", "hipKernelNameRef",
                                       "hipKernelNameRefByPtr"};
    for (unsigned i = 0; i < sizeof some / sizeof *some; i++)
        if (!strcmp(name, some[i])) return 1;
    return 0;
}

/* Called by the first call of function number `index`, on any thread; two at a time find the same. */
__attribute__((visibility("hidden"), used)) void *FIND(unsigned index) {
    void *library = NULL, *function = NULL;
    for (unsigned i = 0; i < sizeof libraries / sizeof *libraries && !library; i++)
        library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL); /* counted by the linker, and never closed */
    if (library) function = dlsym(library, names[index]);
    if (!function && returns_text(names[index])) function = (void *)no_text;
    if (!function) function = library ? (void *)not_supported : (void *)no_device;
    __atomic_store_n(&TABLE[index], function, __ATOMIC_RELEASE);
    return function;
}

/* The functions themselves. FIRST keeps the registers that arguments may be in, calls FIND, and goes on in what that found. */
#if defined(__x86_64__)
#define F(name) \
    ".globl " #name "\n.type " #name ", @function\n" \
    #name ":\n" \
    "    movl $n, %r11d\n" \
    "    movq " TEXT(TABLE) "+8*n(%rip), %rax\n" \
    "    testq %rax, %rax\n" \
    "    jz 1b\n" \
    "    jmp *%rax\n" \
    ".size " #name ", .-" #name "\n" \
    ".set n, n+1\n"

__asm__(".text\n.type " TEXT(FIRST) ", @function\n"
        TEXT(FIRST) ":\n"
        "1:  pushq %rdi\n    pushq %rsi\n    pushq %rdx\n    pushq %rcx\n    pushq %r8\n    pushq %r9\n"
        "    subq $136, %rsp\n"
        "    movups %xmm0, (%rsp)\n    movups %xmm1, 16(%rsp)\n    movups %xmm2, 32(%rsp)\n    movups %xmm3, 48(%rsp)\n"
        "    movups %xmm4, 64(%rsp)\n    movups %xmm5, 80(%rsp)\n    movups %xmm6, 96(%rsp)\n    movups %xmm7, 112(%rsp)\n"
        "    movl %r11d, %edi\n    call " TEXT(FIND) "\n"
        "    movups (%rsp), %xmm0\n    movups 16(%rsp), %xmm1\n    movups 32(%rsp), %xmm2\n    movups 48(%rsp), %xmm3\n"
        "    movups 64(%rsp), %xmm4\n    movups 80(%rsp), %xmm5\n    movups 96(%rsp), %xmm6\n    movups 112(%rsp), %xmm7\n"
        "    addq $136, %rsp\n"
        "    popq %r9\n    popq %r8\n    popq %rcx\n    popq %rdx\n    popq %rsi\n    popq %rdi\n"
        "    jmp *%rax\n"
        ".size " TEXT(FIRST) ", .-" TEXT(FIRST) "\n"
        ".set n, 0\n"
#include FUNCTIONS
);
#elif defined(__aarch64__)
#define F(name) \
    ".globl " #name "\n.type " #name ", %function\n" \
    #name ":\n" \
    "    mov w17, #n\n" \
    "    adrp x16, " TEXT(TABLE) "+8*n\n" \
    "    ldr x16, [x16, :lo12:" TEXT(TABLE) "+8*n]\n" \
    "    cbz x16, 1b\n" \
    "    br x16\n" \
    ".size " #name ", .-" #name "\n" \
    ".set n, n+1\n"

__asm__(".text\n.type " TEXT(FIRST) ", %function\n"
        TEXT(FIRST) ":\n"
        "1:  stp x29, x30, [sp, #-224]!\n    mov x29, sp\n"
        "    stp x0, x1, [sp, #16]\n    stp x2, x3, [sp, #32]\n    stp x4, x5, [sp, #48]\n    stp x6, x7, [sp, #64]\n"
        "    str x8, [sp, #80]\n"
        "    stp q0, q1, [sp, #96]\n    stp q2, q3, [sp, #128]\n    stp q4, q5, [sp, #160]\n    stp q6, q7, [sp, #192]\n"
        "    mov w0, w17\n    bl " TEXT(FIND) "\n    mov x16, x0\n"
        "    ldp x0, x1, [sp, #16]\n    ldp x2, x3, [sp, #32]\n    ldp x4, x5, [sp, #48]\n    ldp x6, x7, [sp, #64]\n"
        "    ldr x8, [sp, #80]\n"
        "    ldp q0, q1, [sp, #96]\n    ldp q2, q3, [sp, #128]\n    ldp q4, q5, [sp, #160]\n    ldp q6, q7, [sp, #192]\n"
        "    ldp x29, x30, [sp], #224\n"
        "    br x16\n"
        ".size " TEXT(FIRST) ", .-" TEXT(FIRST) "\n"
        ".set n, 0\n"
#include FUNCTIONS
);
#else
#error "x86-64 or aarch64"
#endif
