/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The requests that carry pages, and the operations that compress and
 * decompress them on the workqueue's threads.
 *
 * A request holds a run of consecutive pages of one RAM block, at most
 * pages_max, and becomes (part of) one PAGES record of the stream: a class
 * for each page, details, and a payload.  docs/stream-format.md defines them.
 */
#ifndef MIGCOMP_HANDLERS_H
#define MIGCOMP_HANDLERS_H

#include "codec.h"
#include "page_map.h"
#include "pages.h"
#include "workqueue.h"

/* How pages are cut into compressed blocks; values of the stream format. */
typedef enum Grouping {
    GROUPING_PAGE = 0,   /* each page by itself */
    GROUPING_PACKET = 1, /* the pages of a request together */
    GROUPING_STREAM = 2, /* as packet, with the history of the channel */
    GROUPINGS
} Grouping;

/* Bounds the memory of a request. */
#define REQUEST_BYTES_MAX (4u << 20)
#define CHANNELS_MAX 256u

/* Numbers of pages, 64 to a word; only those words that have any are there, in
 * ascending order. */
typedef struct PageSetWord {
    uint64_t number; /* of the first page / 64 */
    uint64_t pages;  /* a bit each */
} PageSetWord;

typedef struct PageSet {
    PageSetWord *words;
    size_t words_nr, room;
} PageSet;

/* What all requests of a queue have in common; opaque of its operations. */
typedef struct PageJob {
    /* Constant. */
    const CodecLibrary *library;
    int level;
    Grouping grouping;
    uint32_t page_size;
    uint32_t pages_max;
    uint32_t channels; /* for GROUPING_STREAM */
    bool copy_input;   /* the codec must not touch mapped memory itself */
    bool fill_zeros;   /* decompress: write zero pages into the data as well */
    bool dedup;        /* decompress: there may be deduplicated pages */
    bool deltas;       /* requests may have previous versions */
    bool salvage;      /* decompress: a record that is no good is lost, and
                        * not the end of all */
    int output_fd;     /* decompress: where the pages that are the record's own
                        * go, each at its place; -1: nowhere */
    const PageMap *source; /* compress: whose pages the threads can decode */
    uint64_t zero_hash;

    /* GROUPING_STREAM: a (de)compressor each, made and used by the one
     * thread that handles the channel's requests. */
    void *channel_contexts[CHANNELS_MAX];
    void *channel_decompressors[CHANNELS_MAX]; /* transfer only, likewise */
    /* With salvage, by the same thread: what follows cannot be decompressed. */
    bool channel_lost[CHANNELS_MAX];

    /* Decompress: the deduplicated pages so far; the submitter's. */
    PageSet deduplicated;
} PageJob;

typedef enum Stage {
    STAGE_WHOLE,    /* classify and compress */
    STAGE_CLASSIFY, /* leaves content pages marked PAGE_NORMAL */
    STAGE_COMPRESS, /* what is marked PAGE_NORMAL */
    STAGE_FRAME,    /* all pages as one block, whether it shrinks them or not;
                     * hashes[0] is of them all.  GROUPING_PACKET only. */
} Stage;

/* Where and why a handler failed. */
typedef struct PageFailure {
    uint64_t page; /* number in the image */
    bool image;    /* the image's fault, not the codec's */
    int written;   /* negative errno of a failed write, which is all then */
    CodecError error;
} PageFailure;

typedef struct PageRequest {
    /* --- Filled in by the submitter ------------------------------------- */
    uint64_t first_page;
    uint32_t pages;
    uint32_t channel;
    Stage stage; /* compress */

    /* Compress: the pages.  Decompress: the record's body.  Borrowed until the
     * request is collected. */
    const uint8_t *input;
    size_t input_size;
    bool mapped;            /* input may vanish under SIGBUS */
    const PageMap *map;      /* compress: to fetch input from, by the worker */
    const PageMap *previous; /* what the receiver has of these pages, or NULL;
                              * compress: input is not mapped then */
    bool has_holes;         /* compress: holes is filled in */
    uint8_t *holes;         /* [pages_max] pages known to be zero, not read */
    uint64_t body_checksum; /* decompress: what the body must hash to */

    /* --- Filled in by the worker ----------------------------------------- */
    uint8_t *classes;  /* [pages_max] PageClass */
    uint64_t *hashes;  /* [pages_max] XXH64 of the page; see STAGE_FRAME */
    uint64_t *values;  /* [pages_max] pattern, or page it equals */
    uint32_t *sizes;   /* [pages_max] GROUPING_PAGE: of the compressed page */
    uint8_t *details;  /* compress: as in the record */
    size_t details_size;
    uint8_t *data; /* compress: the payload; decompress: the pages */
    size_t data_size;
    uint64_t checksum; /* compress: XXH64 of the record's body: classes, details
                        * and data; not of a frame */
    uint32_t counts[PAGE_CLASSES];
    uint64_t elapsed_ns; /* time in the handler, all stages */
    bool lost;           /* decompress: see PageJob.salvage; has no pages then */
    PageFailure failure; /* valid when the handler failed */

    /* Room for a copy of the input, written by whoever holds the request: for
     * images that cannot be mapped, and for codecs that must not touch mapped
     * memory.  Made at first use. */
    uint8_t *copy;
} PageRequest;

/* Room in data that compressing needs at most. */
size_t page_job_data_room(const PageJob *job);

/*
 * Fill in operations for threaded_workqueue_create, with job as opaque; job's
 * constant fields must be set.
 */
void page_compress_ops(PageJob *job, ThreadedWorkqueueOps *ops);
void page_decompress_ops(PageJob *job, ThreadedWorkqueueOps *ops);
/* Compresses and decompresses again; see transfer.h.  details: the size of
 * each page's block, 4 bytes little-endian, 0 for zero pages.  A block of
 * several pages is the first one's, and those after it have 0. */
void page_transfer_ops(PageJob *job, ThreadedWorkqueueOps *ops);

/* After the queue has been destroyed: frees what the job has gathered. */
void page_compress_job_end(PageJob *job);
void page_decompress_job_end(PageJob *job);
void page_transfer_job_end(PageJob *job);
void page_job_end(PageJob *job, void (*context_free)(void *));

/* What a request's input is at most: its pages, or the body of a record. */
size_t page_job_input_max(const PageJob *job);

/* Memory for the request's copy of its input, of that size; NULL without
 * memory. */
uint8_t *page_request_copy(const PageJob *job, PageRequest *request);

/* Shared by the two handlers. */
int page_request_init(PageRequest *request, const PageJob *job,
                      size_t data_room);
void page_request_uninit(PageRequest *request);
__attribute__((format(printf, 4, 5))) int
page_request_fail(PageRequest *request, uint64_t page, bool image,
                  const char *format, ...);

#endif
