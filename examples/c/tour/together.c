/* Chapter 8: four CPU threads check and change the device's results while another thread sends the pages to and fro. The
 * threads take turns of 64 KiB, so that all of them are at work in every chunk that moves. Each word must always be what
 * its thread wrote last: a torn, stale or lost one is counted. */
#define _GNU_SOURCE
#include "tour.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { THREADS = 4, TURN = 16 << 10, MOVES = 500, LOOK = 150 };
#define STEP 0x9E3779B9u

typedef struct {
    uint32_t *words;       /* in managed memory */
    const uint32_t *first; /* what they were at first, from plain code */
    size_t count;
    uint32_t number, rounds;
    uint64_t wrong;
} worker;

static atomic_bool done;

/* What a word is after so many rounds. */
static uint32_t after(uint32_t first, uint32_t rounds) { return first + STEP * rounds; }

/* Goes over its words again and again until the mover is done. */
static void *work(void *argument) {
    worker *me = argument;
    do {
        for (size_t turn = me->number; turn * TURN < me->count; turn += THREADS) {
            for (size_t i = turn * TURN; i < me->count && i < (turn + 1) * TURN; i++) {
                me->wrong += me->words[i] != after(me->first[i], me->rounds);
                me->words[i] = after(me->first[i], me->rounds + 1);
            }
        }
        me->rounds++;
    } while (!atomic_load(&done));
    return NULL;
}

void together(tour_results *results) {
    report_title("Four CPU threads change the results while a fifth moves them to and fro");
    size_t count = results->count, size = count * sizeof(uint32_t), pages = 0;
    report_map("before", results->managed, size);
    uint32_t *first = ordinary(size);
    memcpy(first, results->plain, size);
    meter meter = meter_start();
    pthread_t threads[THREADS];
    worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        /* The words are floats' bits; memory from hmm_calloc has no type of its own. */
        workers[i] = (worker){.words = (uint32_t *)results->managed, .first = first, .count = count, .number = i};
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
            perror("tour: pthread_create");
            exit(2);
        }
    }
    uint64_t look = LOOK / 2;
    for (uint64_t i = 0; i < MOVES; i++) {
        /* Any start, any length up to a quarter; two of three moves go to a device. */
        uint64_t dice = plain_mix(i);
        size_t start = (dice >> 32) % size, part = (uint32_t)dice % (size / 4) + 1, moved;
        part = part < size - start ? part : size - start;
        int to = dice % 3 == 0 ? HMM_HOST : (int)(i % (uint64_t)hmm_device_count());
        CHECK(hmm_migrate((char *)results->managed + start, part, to, &moved));
        pages += moved;
        if (i >= look && to != HMM_HOST) { /* now and then a look at where they are */
            report_map("meanwhile", results->managed, size);
            look += LOOK;
        }
    }
    atomic_store(&done, true);
    uint64_t rounds = 0, wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        rounds += workers[i].rounds;
        wrong += workers[i].wrong;
    }
    meter_stop(&meter);
    report_map("after", results->managed, size);
    report_moved(&meter, rounds * size / THREADS);
    printf("   %d moves, %zu pages in all, meanwhile %u, %u, %u and %u rounds over the words\n", MOVES, pages,
           workers[0].rounds, workers[1].rounds, workers[2].rounds, workers[3].rounds);
    report_check("no thread met a torn, stale or lost word", wrong == 0);

    for (size_t i = 0; i < count; i++) {
        first[i] = after(first[i], workers[i / TURN % THREADS].rounds);
    }
    uint64_t *sum = managed(sizeof *sum);
    device_checksum(sum, results->managed, size);
    report_check("the device sees what the threads wrote", *sum == plain_checksum(first, size));
    hmm_free(sum);
    free(first);
}
