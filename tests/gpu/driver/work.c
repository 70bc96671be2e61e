/* The simulated driver's streams, events and graphs.
 *
 * Work waits in its stream until something is synchronised: who forgets that reads what was there before.
 */
#include "libcuda.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { UNTIMED = 2 }; /* CU_EVENT_DISABLE_TIMING */

struct operation {
    enum { COPY, FILL, MARK } kind;
    char *to, *from;
    size_t count;          /* of items */
    unsigned width, value; /* bytes of an item, and what it is filled with */
    struct memory *used[2];
    struct event *event;
    struct graph *of;      /* that it was launched with */
    struct operation *next;
};
struct stream {
    struct operation *first;
    struct graph *capture;
    int broken, dead;
    pthread_t by; /* that captures */
    unsigned born;
    struct stream *next;
};
struct event { int recorded, done, dead; unsigned flags, born; double at; struct event *next; };
struct graph { struct operation *first; int ready, running, dead; unsigned born; struct graph *next; };

static struct stream *streams;
static struct event *events;
static struct graph *graphs;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 1e3 * time.tv_sec + 1e-6 * time.tv_nsec;
}

/* Calls that may not come while this thread captures: the capture is lost. */
int unsafe(void) {
    int found = 0;
    for (struct stream *one = streams; one; one = one->next)
        if (one->capture && pthread_equal(one->by, pthread_self())) one->broken = found = 1;
    return found;
}

static void finish(struct operation *one, int really) {
    for (int i = 0; i < 2; i++) {
        if (!one->used[i]) continue;
        if (one->used[i]->freed) misuse("enqueued work touches memory that was freed");
        one->used[i]->enqueued--;
    }
    if (!really) one->count = 0;
    if (one->kind == COPY) memmove(one->to, one->from, one->count);
    if (one->kind == FILL && one->width == 1) memset(one->to, one->value, one->count);
    else if (one->kind == FILL)
        for (size_t i = 0; i < one->count; i++) memcpy(one->to + i * one->width, &one->value, one->width);
    if (one->kind == MARK) one->event->done = 1, one->event->at = now();
    if (one->of) one->of->running--;
    free(one);
}

static void append(struct operation **list, const struct operation *one) {
    while (*list) list = &(*list)->next;
    *list = malloc(sizeof *one);
    **list = *one;
    (*list)->next = NULL;
}

static void drain(struct stream *stream, int really) {
    for (struct operation *one; (one = stream->first);) {
        stream->first = one->next;
        finish(one, really);
    }
}

static CUresult enqueue(struct stream *stream, struct operation one) {
    if (!stream) misuse("work on the default stream is not simulated");
    CHECK(streams, stream, "stream");
    if (stream->broken) return CAPTURE_INVALIDATED;
    if (stream->capture) {
        append(&stream->capture->first, &one);
        return SUCCESS;
    }
    for (int i = 0; i < 2; i++)
        if (one.used[i]) one.used[i]->enqueued++;
    if (one.of) one.of->running++;
    append(&stream->first, &one);
    return SUCCESS;
}

/* Work. The host's side must be pinned: a driver would copy other memory by itself, and wait. */

static struct operation copy(char *to, const char *from, size_t bytes, struct memory *one, struct memory *other) {
    return (struct operation){.kind = COPY, .to = to, .from = (char *)from, .count = bytes, .used = {one, other}};
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    ENTER(CURRENT);
    struct memory *host = holding(from, bytes, __func__), *gpu = on_gpu(to, bytes, __func__);
    if (!host) misuse("%s: from memory that is not pinned", __func__);
    return enqueue(stream, copy((char *)(to - BIAS), from, bytes, host, gpu));
}

CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER(CURRENT);
    struct memory *host = holding(to, bytes, __func__), *gpu = on_gpu(from, bytes, __func__);
    if (!host) misuse("%s: to memory that is not pinned", __func__);
    return enqueue(stream, copy(to, (char *)(from - BIAS), bytes, host, gpu));
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    ENTER(CURRENT);
    struct memory *target = on_gpu(to, bytes, __func__), *source = on_gpu(from, bytes, __func__);
    return enqueue(stream, copy((char *)(to - BIAS), (char *)(from - BIAS), bytes, target, source));
}

static CUresult fill(CUdeviceptr to, unsigned value, unsigned width, size_t count, CUstream stream, const char *name) {
    struct memory *target = on_gpu(to, width * count, name);
    struct operation one = {.kind = FILL, .to = (char *)(to - BIAS), .count = count, .width = width, .value = value};
    if (to % width) return INVALID_VALUE;
    one.used[0] = target;
    return enqueue(stream, one);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
    ENTER(CURRENT);
    return fill(to, value, 1, count, stream, __func__);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
    ENTER(CURRENT);
    return fill(to, value, 4, count, stream, __func__);
}

/* Streams. */

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    ENTER(CURRENT);
    (void)flags;
    *stream = NEW(streams);
    return SUCCESS;
}

CUresult cuStreamDestroy_v2(CUstream stream) {
    ENTER(CURRENT);
    CHECK(streams, stream, "stream");
    if (stream->first) misuse("a stream is destroyed while work is enqueued on it");
    if (stream->capture) misuse("a stream is destroyed while it captures");
    stream->dead = 1;
    return SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
    __attribute__((cleanup(leave))) int locked = take();
    CUresult refused = enter(__func__, CURRENT);
    if (refused) drain(stream, 0); /* work that failed has ended as well */
    if (refused) return refused;
    CHECK(streams, stream, "stream");
    if (stream->capture) { stream->broken = 1; return CAPTURE_UNSUPPORTED; }
    drain(stream, 1);
    return SUCCESS;
}

CUresult cuStreamQuery(CUstream stream) {
    ENTER(CURRENT);
    CHECK(streams, stream, "stream");
    if (stream->capture) { stream->broken = 1; return CAPTURE_UNSUPPORTED; }
    return stream->first ? NOT_READY : SUCCESS;
}

CUresult wait_for_all(void) {
    if (unsafe()) return CAPTURE_UNSUPPORTED;
    for (struct stream *one = streams; one; one = one->next) drain(one, 1);
    return SUCCESS;
}

/* Events. */

CUresult cuEventCreate(CUevent *event, unsigned flags) {
    ENTER(CURRENT);
    *event = NEW(events);
    (*event)->flags = flags;
    return SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event) {
    ENTER(CURRENT);
    CHECK(events, event, "event");
    if (event->recorded && !event->done) misuse("an event is destroyed before it came");
    event->dead = 1;
    return SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    ENTER(CURRENT);
    CHECK(events, event, "event");
    event->recorded = 1, event->done = 0;
    return enqueue(stream, (struct operation){.kind = MARK, .event = event});
}

CUresult cuEventQuery(CUevent event) {
    ENTER(CURRENT);
    CHECK(events, event, "event");
    return event->recorded && !event->done ? NOT_READY : SUCCESS;
}

CUresult cuEventSynchronize(CUevent event) {
    ENTER(CURRENT);
    CHECK(events, event, "event");
    return event->recorded && !event->done ? wait_for_all() : SUCCESS;
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
    ENTER(CURRENT);
    CHECK(events, start, "event");
    CHECK(events, end, "event");
    if ((start->flags | end->flags) & UNTIMED || !start->recorded || !end->recorded) return INVALID_HANDLE;
    if (!start->done || !end->done) return NOT_READY;
    *milliseconds = end->at - start->at;
    return SUCCESS;
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

/* Graphs. */

CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
    ENTER(CURRENT);
    if (!stream) return CAPTURE_UNSUPPORTED;
    CHECK(streams, stream, "stream");
    if (mode != 1) misuse("only captures local to a thread are simulated");
    if (stream->capture) return ILLEGAL_STATE;
    stream->capture = NEW(graphs);
    stream->by = pthread_self();
    return SUCCESS;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    __attribute__((cleanup(leave))) int locked = take();
    CUresult refused = enter(__func__, CURRENT);
    if (refused && stream->capture) stream->capture->dead = 1; /* it ends all the same */
    if (refused) stream->capture = NULL, stream->broken = 0;
    if (refused) return refused;
    CHECK(streams, stream, "stream");
    *graph = NULL;
    if (!stream->capture) return ILLEGAL_STATE;
    if (!pthread_equal(stream->by, pthread_self())) return CAPTURE_WRONG_THREAD;
    struct graph *made = stream->capture;
    int broken = stream->broken;
    stream->capture = NULL, stream->broken = 0;
    if (broken) { made->dead = 1; return CAPTURE_INVALIDATED; }
    *graph = made;
    return SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, int *status) {
    ENTER(CURRENT);
    CHECK(streams, stream, "stream");
    *status = stream->broken ? 2 : stream->capture != NULL;
    return SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *ready, CUgraph graph, unsigned long long flags) {
    ENTER(CURRENT);
    (void)flags;
    CHECK(graphs, graph, "graph");
    struct graph *copy = NEW(graphs);
    copy->ready = 1;
    for (struct operation *one = graph->first; one; one = one->next) append(&copy->first, one);
    *ready = copy;
    return SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec ready, CUstream stream) {
    ENTER(CURRENT);
    CHECK(graphs, ready, "graph");
    if (!ready->ready) misuse("%s: a graph that is not instantiated", __func__);
    for (struct operation *one = ready->first; one; one = one->next) {
        struct operation again = *one;
        again.of = ready;
        for (int i = 0; i < 2; i++)
            if (one->used[i] && one->used[i]->freed) misuse("%s: memory of the graph was freed", __func__);
        CUresult result = enqueue(stream, again);
        if (result) return result;
    }
    return SUCCESS;
}

static CUresult destroy(struct graph *graph, int ready, const char *function) {
    CHECK(graphs, graph, "graph");
    if (graph->ready != ready) misuse("%s: the other kind of graph", function);
    if (graph->running) misuse("%s: the graph still runs", function);
    graph->dead = 1;
    return SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph) { ENTER(CURRENT); return destroy(graph, 0, __func__); }
CUresult cuGraphExecDestroy(CUgraphExec ready) { ENTER(CURRENT); return destroy(ready, 1, __func__); }

/* The end. */

void forget_all(void) {
    for (struct stream *one = streams; one; one = one->next)
        if (one->first) misuse("the context ends while work is enqueued");
    unmap_all();
}

int describe_left(char *text, size_t size) {
    unsigned current = generation();
    return snprintf(text, size, "%d device, %d pinned, %d streams, %d events, %d graphs, ",
        held(DEVICE), held(PINNED),
        COUNT(streams, !one->dead && one->born == current), COUNT(events, !one->dead && one->born == current),
        COUNT(graphs, !one->dead && one->born == current));
}
