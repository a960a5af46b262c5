/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the threads and requests of a simulated migration own. */
#include "transfer.h"

#include <errno.h>
#include <stdlib.h>

static int transfer_request_init(void *request, void *opaque)
{
    const PageJob *job = opaque;
    size_t size = (size_t)job->pages_max * job->page_size;

    return page_request_init(request, job, size);
}

static void transfer_request_uninit(void *request, void *job)
{
    (void)job;
    page_request_uninit(request);
}

static void transfer_thread_uninit(void *opaque, void *job_opaque)
{
    const PageJob *job = job_opaque;
    const CodecOps *codec = job->library->ops;
    TransferState *state = opaque;

    if (state->compressor) {
        codec->compressor_free(state->compressor);
    }
    if (state->decompressor) {
        codec->decompressor_free(state->decompressor);
    }
    free(state->content);
    free(state->packed);
    free(state->arrived);
    free(state->previous);
}

static int transfer_thread_init(void *opaque, unsigned index, void *job_opaque)
{
    const PageJob *job = job_opaque;
    const CodecOps *codec = job->library->ops;
    TransferState *state = opaque;
    bool own = codec->compress && job->grouping != GROUPING_STREAM;
    size_t size = (size_t)job->pages_max * job->page_size;
    size_t room = size;

    (void)index;
    if (codec->compress) {
        size_t pages = codec->bound(job->library, job->page_size);
        size_t packet = codec->bound(job->library, size);

        pages *= job->pages_max;
        room = pages > packet ? pages : packet;
    }
    if (own) {
        state->compressor =
            codec->compressor_new(job->library, job->level, false);
        state->decompressor = codec->decompressor_new(job->library, false);
    }
    state->content = malloc(size);
    state->arrived = malloc(size);
    state->packed = malloc(room);
    if (job->deltas) {
        state->previous = malloc(size);
    }
    if ((own && !(state->compressor && state->decompressor)) ||
        !state->content || !state->arrived || !state->packed ||
        (job->deltas && !state->previous)) {
        transfer_thread_uninit(state, job_opaque);
        return -ENOMEM;
    }
    return 0;
}

void page_transfer_ops(PageJob *job, ThreadedWorkqueueOps *ops)
{
    *ops = (ThreadedWorkqueueOps){
        .thread_request_init = transfer_request_init,
        .thread_request_uninit = transfer_request_uninit,
        .thread_request_handler = transfer_handler,
        .thread_init = transfer_thread_init,
        .thread_uninit = transfer_thread_uninit,
        .request_size = sizeof(PageRequest),
        .thread_state_size = sizeof(TransferState),
        .opaque = job,
    };
}

void page_transfer_job_end(PageJob *job)
{
    const CodecOps *codec = job->library->ops;

    for (uint32_t i = 0; i < job->channels; i++) {
        if (job->channel_decompressors[i]) {
            codec->decompressor_free(job->channel_decompressors[i]);
            job->channel_decompressors[i] = NULL;
        }
    }
    page_job_end(job, codec->compressor_free);
}
