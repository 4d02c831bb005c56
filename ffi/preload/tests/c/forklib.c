// A library that keeps its lock across forks by pthread_atfork, from its constructor on: before the preload library's own.

#include <pthread.h>

pthread_mutex_t lib_lock = PTHREAD_MUTEX_INITIALIZER;

static void take(void) { pthread_mutex_lock(&lib_lock); }
static void give(void) { pthread_mutex_unlock(&lib_lock); }
__attribute__((constructor)) static void start(void) { pthread_atfork(take, give, give); }
