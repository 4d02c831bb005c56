// What HIP's runtime is given for launches and for copies in three dimensions, without its header.

#ifndef GPU_TYPES_HIP_H
#define GPU_TYPES_HIP_H

#include <stddef.h>

typedef void *handle;

typedef struct {
    unsigned x, y, z;
} dim3;
typedef struct {
    void *at;
    size_t pitch, width, height;
} pitched;
typedef struct {
    handle array;
    size_t x, y, z;
    pitched memory;
} space;
typedef struct {
    space from, to;
    size_t width, height, depth;
    int kind;
} spaces;

#endif
