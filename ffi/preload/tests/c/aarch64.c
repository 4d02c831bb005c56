// The assembly for aarch64 (src/aarch64/), built by a compiler for it and run by qemu: what it makes of arguments, of return
// addresses and of the stack. The test puts each piece behind the name of a function here.

#define _GNU_SOURCE
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#include "check.h"

// What the pieces look at.
size_t active;
struct {
    size_t name[2], at;
} plain;

int print1(const char *format, ...);
int print2(void *to, const char *format, ...);
int print3(void *to, int flag, const char *format, ...);
void *with_caller1(size_t size);
void *with_caller6(size_t a, size_t b, size_t c, size_t d, size_t e, size_t f);
void *ask(void *handle, const char *name);

static char text[400];
static int called;

// Whether unwinding from here comes to main.
int main(void);
static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *found) {
    if ((void *)_Unwind_GetRegionStart(context) == (void *)main) *(int *)found = 1;
    return _URC_NO_REASON;
}
static int unwinds(void) {
    int found = 0;
    _Unwind_Backtrace(frame, &found);
    return found;
}

int body1(const char *format, va_list list) {
    called = 1;
    CHECK(unwinds());
    return vsnprintf(text, sizeof text, format, list);
}
int body2(void *to, const char *format, va_list list) {
    called = 2;
    CHECK(to == &called && unwinds());
    return vsnprintf(text, sizeof text, format, list);
}
int body3(void *to, int flag, const char *format, va_list list) {
    called = 3;
    CHECK(to == &called && flag == -7 && unwinds());
    return vsnprintf(text, sizeof text, format, list);
}

// In registers of both kinds, and more of both on the stack.
#define MANY "%d %s %ld %g %d %d %d %d %d %d %g %g %g %g %g %g %g %g %.3Lf %s"
#define VALUES                                                                                                        \
    1, "two", -3L, 0.5, 4, 5, 6, 7, 8, 9, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.125L, "end"
#define IS "1 two -3 0.5 4 5 6 7 8 9 1.5 2.5 3.5 4.5 5.5 6.5 7.5 8.5 9.125 end"

static void arguments(void) {
    for (int n = 1; n <= 3; n++) {
        memset(text, 0, sizeof text);
        int len = n == 1 ? print1(MANY, VALUES) : n == 2 ? print2(&called, MANY, VALUES) : print3(&called, -7, MANY, VALUES);
        CHECK(called == n && strcmp(text, IS) == 0 && len == (int)strlen(IS));
    }
}

static const void *from;
static int goes_on(const char *format, ...) {
    va_list list;
    va_start(list, format);
    from = __builtin_return_address(0);
    int len = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    called = 9;
    return len;
}

static void straight_on(void) {
    plain.at = (size_t)goes_on;
    memset(text, 0, sizeof text);
    CHECK(print1(MANY, VALUES) == (int)strlen(IS) && called == 9 && strcmp(text, IS) == 0);
    active = 1;
    CHECK(print1("%s", "x") == 1 && called == 1);
    active = 0;
    plain.at = 0;
    CHECK(print1("%s", "x") == 1 && called == 1);
}

static size_t seen[6];
static const void *caller;
void *body_caller1(size_t size, const void *who) {
    seen[0] = size;
    caller = who;
    return __builtin_return_address(0) == who ? &seen : NULL;
}
void *body_caller6(size_t a, size_t b, size_t c, size_t d, size_t e, size_t f, const void *who) {
    memcpy(seen, (size_t[]){a, b, c, d, e, f}, sizeof seen);
    caller = who;
    return __builtin_return_address(0) == who ? &seen : NULL;
}

// Whether it is an address in this file's code.
static int is_ours(const void *at) {
    extern char __executable_start, etext;
    return (const char *)at > &__executable_start && (const char *)at < &etext;
}

static void callers(void) {
    CHECK(with_caller1(77) == &seen && seen[0] == 77 && is_ours(caller));
    CHECK(with_caller6(1, 2, 3, 4, 5, 6) == &seen && seen[0] == 1 && seen[5] == 6 && is_ours(caller));
}

struct next {
    uintptr_t answer, jump;
};
static struct next next;
struct next decide(void *handle, const char *name, const void *who) {
    CHECK(handle == &next && strcmp(name, "name") == 0 && is_ours(who));
    caller = who;
    return next;
}
static void *jumped_to(void *handle, const char *name) {
    CHECK(handle == &next && strcmp(name, "name") == 0 && __builtin_return_address(0) == caller);
    return &called;
}

static void asked(void) {
    next = (struct next){4711, 0};
    CHECK(ask(&next, "name") == (void *)4711);
    next = (struct next){4711, (uintptr_t)jumped_to};
    CHECK(ask(&next, "name") == &called);
}

int flags = ~8;
void *load(const char *name, int flags);
static void *loaded(const char *name, int flags) {
    CHECK(strcmp(name, "name") == 0 && flags == 0x102 && is_ours(__builtin_return_address(0)));
    called++;
    return text;
}
uintptr_t address(void) { return (uintptr_t)loaded; }

static void loads(void) {
    called = 0;
    plain.at = 0;
    CHECK(load("name", 0x10a) == text && called == 1);
    plain.at = (uintptr_t)loaded;
    CHECK(load("name", 0x10a) == text && called == 2);
}

int swap_contexts(const void *to, const void *from);
static int switched(const void *to, const void *from) {
    CHECK(to == text && from == &flags && is_ours(__builtin_return_address(0)));
    return called;
}
uintptr_t ready(const void *to, const void *from) {
    CHECK(to == text && from == &flags);
    called++;
    return (uintptr_t)switched;
}

static void switches(void) {
    called = 0;
    plain.at = (uintptr_t)switched;
    CHECK(swap_contexts(text, &flags) == 0);
    active = 1;
    CHECK(swap_contexts(text, &flags) == 1);
    active = 0;
    plain.at = 0;
    CHECK(swap_contexts(text, &flags) == 2);
}

int main(void) {
    PART(arguments);
    PART(straight_on);
    PART(callers);
    PART(asked);
    PART(loads);
    PART(switches);
    return 0;
}
