// What CUDA's driver is given for graphs and for copies in two and three dimensions, without its header.

#ifndef GPU_TYPES_H
#define GPU_TYPES_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t address;
typedef void *handle;

typedef struct {
    size_t x, y;
    unsigned kind;
    void *host;
    address device;
    handle array;
    size_t pitch;
} plane;
typedef struct {
    plane from, to;
    size_t width, height;
} planes;
typedef struct {
    size_t x, y, z, level;
    unsigned kind;
    void *host;
    address device;
    handle array, context;
    size_t pitch, height;
} space;
typedef struct {
    space from, to;
    size_t width, height, depth;
} spaces;
typedef struct {
    handle f;
    unsigned grid[3], block[3], shared;
    void **values, **extra;
    handle kernel, context;
} kernel_node;
typedef struct {
    address at;
    size_t pitch;
    unsigned value, size;
    size_t width, height;
} fill_node;

#endif
