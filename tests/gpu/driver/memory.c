/* The simulated driver's memory: on the GPU, and pinned on the host. */
#include "libcuda.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAPPED = 2 }; /* CU_MEMHOSTALLOC_DEVICEMAP */

static struct memory *memories;

/* Where a range of memory lies that work is about to touch; NULL: it is the host's, and not pinned. */
struct memory *holding(const char *at, size_t bytes, const char *function) {
    for (struct memory *one = memories; one; one = one->next) {
        if (at < one->at || at >= one->at + one->size) continue;
        if (one->freed) misuse("%s: memory is used after it was freed", function);
        if (at + bytes > one->at + one->size) misuse("%s: %zu bytes reach past the end of memory", function, bytes);
        return one;
    }
    return NULL;
}

struct memory *on_gpu(CUdeviceptr address, size_t bytes, const char *function) {
    struct memory *one = address < BIAS ? NULL : holding((char *)(address - BIAS), bytes, function);
    if (!one) misuse("%s: %#llx is no address of the GPU", function, address);
    if (one->kind == PINNED && !(one->flags & MAPPED)) misuse("%s: pinned memory that is not mapped", function);
    return one;
}

static CUresult allocate(void **at, size_t bytes, unsigned kind, unsigned flags) {
    size_t pages = (bytes + 4095) & ~4095ULL, total;
    total = (size_t)number("SIM_CUDA_MEMORY_MB", 1024) << 20;
    if (unsafe()) return CAPTURE_UNSUPPORTED;
    if (!bytes) return INVALID_VALUE;
    if (used_bytes() + pages > total) return OUT_OF_MEMORY;
    struct memory *one = NEW(memories);
    one->at = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    one->size = bytes, one->kind = kind, one->flags = flags;
    memset(one->at, 0xa5, bytes); /* nobody may count on zeros */
    *at = one->at;
    return SUCCESS;
}

static void unmap(struct memory *one) {
    mmap(one->at, (one->size + 4095) & ~4095ULL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    one->freed = 1;
}

static CUresult release(char *at, unsigned kind) {
    if (unsafe()) return CAPTURE_UNSUPPORTED;
    for (struct memory *one = memories; one; one = one->next) {
        if (one->at != at || one->kind != kind) continue;
        if (one->freed) misuse("memory is freed twice");
        if (one->enqueued) misuse("memory is freed while work on it is enqueued");
        unmap(one);
        return SUCCESS;
    }
    return INVALID_VALUE;
}

size_t used_bytes(void) {
    size_t used = 0;
    for (struct memory *one = memories; one; one = one->next)
        if (!one->freed && (one->kind == DEVICE || number("SIM_CUDA_INTEGRATED", 0)))
            used += (one->size + 4095) & ~4095ULL;
    return used;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
    ENTER(CURRENT);
    void *at;
    CUresult result = allocate(&at, bytes, DEVICE, 0);
    if (!result) *address = (CUdeviceptr)at + BIAS;
    return result;
}

CUresult cuMemFree_v2(CUdeviceptr address) { ENTER(CURRENT); return release((char *)(address - BIAS), DEVICE); }
CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
    ENTER(CURRENT);
    return allocate(at, bytes, PINNED, flags);
}
CUresult cuMemFreeHost(void *at) { ENTER(CURRENT); return release(at, PINNED); }

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *at, unsigned flags) {
    ENTER(CURRENT);
    struct memory *one = holding(at, 1, __func__);
    if (flags || !one || one->kind != PINNED || !(one->flags & MAPPED)) return INVALID_VALUE;
    *address = (CUdeviceptr)at + BIAS;
    return SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned *flags, void *at) {
    ENTER(CURRENT);
    struct memory *one = holding(at, 1, __func__);
    if (!one || one->kind != PINNED) return INVALID_VALUE;
    *flags = one->flags;
    return SUCCESS;
}

int held(unsigned kind) { return COUNT(memories, !one->freed && one->kind == kind); }

void unmap_all(void) {
    for (struct memory *one = memories; one; one = one->next)
        if (!one->freed) unmap(one);
}
