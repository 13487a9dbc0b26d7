/* Counts of durations: exact below 128 µs, then 64 steps for each doubling, so within 1.6 %. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum { STEP_BITS = 6, STEPS = 1 << STEP_BITS, BUCKETS = 40 * STEPS };

struct histogram {
    uint64_t counts[BUCKETS];
};

static inline void histogram_add(struct histogram *histogram, int64_t ns, uint64_t count)
{
    uint64_t micros = ns > 0 ? (uint64_t)ns / 1000 : 0;
    unsigned shift = 0;
    if (micros >= 2 * STEPS)
        shift = 63 - (unsigned)__builtin_clzll(micros) - STEP_BITS;
    uint64_t bucket = ((uint64_t)shift << STEP_BITS) + (micros >> shift);
    histogram->counts[bucket < BUCKETS ? bucket : BUCKETS - 1] += count;
}

/* As a JSON list of [µs in the middle of the bucket, count]. */
static inline void histogram_print(const struct histogram *histogram)
{
    const char *separator = "";
    printf("[");
    for (uint64_t bucket = 0; bucket < BUCKETS; bucket++) {
        if (!histogram->counts[bucket])
            continue;
        unsigned shift = bucket < 2 * STEPS ? 0 : (unsigned)(bucket >> STEP_BITS) - 1;
        uint64_t low = (bucket - ((uint64_t)shift << STEP_BITS)) << shift;
        printf("%s[%.1f,%llu]", separator, (double)low + ((1ull << shift) - 1) / 2.0,
               (unsigned long long)histogram->counts[bucket]);
        separator = ",";
    }
    printf("]");
}

#endif
