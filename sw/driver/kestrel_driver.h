/* Driver of the Kestrel chip: C99, no dependency, no allocation, no state but `struct kestrel`. */
#ifndef KESTREL_DRIVER_H
#define KESTREL_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "kestrel_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kestrel_result {
    KESTREL_OK = 0,
    KESTREL_BUS_FAULT,      /* the bus or a stream did not answer well */
    KESTREL_NO_CHIP,        /* the identification is not that of a chip this driver knows */
    KESTREL_OTHER_NETWORK,  /* the chip holds another network, or one for another image size */
    KESTREL_IS_BUSY,        /* the chip refused a request, being busy */
    KESTREL_TIMEOUT,        /* no interrupt came */
    KESTREL_FAILED          /* the frame or the self-check failed: see `causes` */
};

/* What OUTPUT.select may be. */
enum kestrel_output { KESTREL_FEATURES, KESTREL_BYTES, KESTREL_BITS, KESTREL_SUMS };

/* What a frame is of a descriptor's crops and rotations: a sum of KESTREL_PART_*_MASK. A descriptor of one
   frame is all of them. */
#define KESTREL_PART_WHOLE (KESTREL_PART_FIRST_CROP_MASK | KESTREL_PART_LAST_CROP_MASK | \
                            KESTREL_PART_FIRST_ROTATION_MASK | KESTREL_PART_LAST_ROTATION_MASK)

/* The board: every function returns 0 if all went well. `context` is handed to each.

   A frame's interrupt comes when at most the last two beats of its packet have still to be taken, so something must
   take beats while `wait` waits. There are two kinds of boards:

   - A DMA writes the packet to memory: `prepare` and `cancel` are given. The driver calls `prepare` before the
     frame starts, `receive` after it has ended, and `cancel` if it did not end well.
   - A queue takes beats by itself: `prepare` is NULL. It must hold the largest packet (of features, every pixel
     begins a new beat; else a descriptor's). It must also drop a packet whose last beat has TKEEP 0, which is what
     the chip has given up; or, if it cannot see that, `cancel` is given. */
struct kestrel_board {
    void *context;
    int (*read)(void *context, uint32_t address, uint32_t *value);
    int (*write)(void *context, uint32_t address, uint32_t value);
    /* Returns when irq is high, or nonzero when it has waited long enough. */
    int (*wait)(void *context);
    /* Begins to send an image with TLAST at its end; returns at once. */
    int (*send)(void *context, const uint8_t *image, size_t bytes);
    /* Waits for the end of the packet, puts it into `data`, at most `capacity` bytes, and tells its length. After
       `prepare` both are what that was given, and the packet may lie there already. */
    int (*receive)(void *context, uint8_t *data, size_t capacity, size_t *bytes);
    /* Optional: from now on takes the next packet, at most `capacity` bytes of it to `data`; returns at once. */
    int (*prepare)(void *context, uint8_t *data, size_t capacity);
    /* Optional, but needed with `prepare`: throws away what has come out and was not received. When it returns
       nothing is written to the memory of `prepare` any more; a queue is empty and goes on taking. */
    int (*cancel)(void *context);
};

struct kestrel {
    const struct kestrel_board *board;
    uint32_t network_crc;
    uint16_t height, width;   /* of the image that the network was planned for */
    uint32_t causes;          /* of the last KESTREL_FAILED: bits of ERROR */
};

/* Finds the chip, waits until it has read its table, clears what is pending. */
enum kestrel_result kestrel_open(struct kestrel *chip, const struct kestrel_board *board);

/* Holds the chip to a network (KESTREL_NETWORK_CRC32 of the exported header) and its image size. */
enum kestrel_result kestrel_expect_network(struct kestrel *chip, uint32_t network_crc, uint16_t height,
                                           uint16_t width);

/* Self-check of all ROMs; returns when it has ended. */
enum kestrel_result kestrel_check(struct kestrel *chip);

/* What the next frames give, and what part of a descriptor they are. */
enum kestrel_result kestrel_configure(struct kestrel *chip, enum kestrel_output output, uint32_t part);

/* Begins a frame. */
enum kestrel_result kestrel_start(struct kestrel *chip);

/* Waits until the frame or self-check has ended. */
enum kestrel_result kestrel_wait(struct kestrel *chip);

/* The whole: prepare, start, send, wait, receive. With `data` NULL nothing is expected to come out. A frame that
   does not end well is given up, and what came out of it thrown away: the next call finds nothing of it, and
   nothing is written to `data` any more. That takes room for two beats in `data`, or in the queue. After an
   image size or a failed self-check that keeps the frame from starting (KESTREL_FAILED) no image was sent. */
enum kestrel_result kestrel_frame(struct kestrel *chip, const uint8_t *image, size_t image_bytes,
                                  uint8_t *data, size_t capacity, size_t *bytes);

/* Ends what is under way; the cause that this sets is cleared. Returns when what had been offered has been taken, or
   after some time with KESTREL_TIMEOUT: a board that takes nothing by itself must have been prepared, for two beats
   and the one that closes the packet. */
enum kestrel_result kestrel_abort(struct kestrel *chip);
/* The same, and all registers as after a reset; then kestrel_open. */
enum kestrel_result kestrel_soft_reset(struct kestrel *chip);

/* Frames that ended well; cycles of the last frame; its counters, 0 .. KESTREL_COUNTERS_COUNT - 1. */
enum kestrel_result kestrel_frames(struct kestrel *chip, uint32_t *frames);
enum kestrel_result kestrel_cycles(struct kestrel *chip, uint32_t *cycles);
enum kestrel_result kestrel_counter(struct kestrel *chip, unsigned index, uint32_t *value);

/* The text of a cause, by its bit; NULL if there is none. */
const char *kestrel_cause_text(unsigned bit);

#ifdef __cplusplus
}
#endif

#endif
