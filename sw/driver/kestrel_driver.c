#include "kestrel_driver.h"

#define INTERRUPTS (KESTREL_IRQ_STATUS_DONE_MASK | KESTREL_IRQ_STATUS_ERROR_MASK | \
                    KESTREL_IRQ_STATUS_CHECKED_MASK)
#define IDENTIFICATION 0x4B535431U
#define POLLS 1000000UL /* of a state that lasts some cycles */
#define TRY(call) \
    do { \
        enum kestrel_result result_ = (call); \
        if (result_ != KESTREL_OK) \
            return result_; \
    } while (0)

static enum kestrel_result get(struct kestrel *chip, uint32_t address, uint32_t *value)
{
    return chip->board->read(chip->board->context, address, value) ? KESTREL_BUS_FAULT : KESTREL_OK;
}

static enum kestrel_result put(struct kestrel *chip, uint32_t address, uint32_t value)
{
    return chip->board->write(chip->board->context, address, value) ? KESTREL_BUS_FAULT : KESTREL_OK;
}

/* The causes that are set, which are then cleared. */
static enum kestrel_result take_causes(struct kestrel *chip, uint32_t *causes)
{
    TRY(get(chip, KESTREL_ERROR_ADDRESS, causes));
    TRY(put(chip, KESTREL_ERROR_ADDRESS, *causes));
    return put(chip, KESTREL_IRQ_STATUS_ADDRESS, INTERRUPTS);
}

/* A write that a busy chip refuses. */
static enum kestrel_result request(struct kestrel *chip, uint32_t address, uint32_t value)
{
    uint32_t causes;

    if (put(chip, address, value) == KESTREL_OK)
        return KESTREL_OK;
    TRY(get(chip, KESTREL_ERROR_ADDRESS, &causes));
    if (!(causes & KESTREL_ERROR_WRITE_BUSY_MASK))
        return KESTREL_BUS_FAULT;
    TRY(put(chip, KESTREL_ERROR_ADDRESS, KESTREL_ERROR_WRITE_BUSY_MASK));
    return KESTREL_IS_BUSY;
}

static enum kestrel_result settle(struct kestrel *chip)
{
    unsigned long polls;
    uint32_t status;

    for (polls = 0; polls < POLLS; ++polls) {
        TRY(get(chip, KESTREL_STATUS_ADDRESS, &status));
        if (!(status & KESTREL_STATUS_BUSY_MASK))
            return KESTREL_OK;
    }
    return KESTREL_TIMEOUT;
}

enum kestrel_result kestrel_open(struct kestrel *chip, const struct kestrel_board *board)
{
    uint32_t value, causes;

    chip->board = board;
    chip->causes = 0;
    TRY(get(chip, KESTREL_ID_ADDRESS, &value));
    if (value != IDENTIFICATION)
        return KESTREL_NO_CHIP;
    TRY(get(chip, KESTREL_VERSION_ADDRESS, &value));
    if ((value & KESTREL_VERSION_MAJOR_MASK) >> KESTREL_VERSION_MAJOR_SHIFT != KESTREL_REGISTERS_MAJOR)
        return KESTREL_NO_CHIP;
    TRY(settle(chip));
    TRY(get(chip, KESTREL_NETWORK_CRC_ADDRESS, &chip->network_crc));
    TRY(get(chip, KESTREL_TABLE_SIZE_ADDRESS, &value));
    chip->height = (uint16_t)((value & KESTREL_TABLE_SIZE_HEIGHT_MASK) >> KESTREL_TABLE_SIZE_HEIGHT_SHIFT);
    chip->width = (uint16_t)((value & KESTREL_TABLE_SIZE_WIDTH_MASK) >> KESTREL_TABLE_SIZE_WIDTH_SHIFT);
    TRY(take_causes(chip, &causes));
    TRY(put(chip, KESTREL_IRQ_ENABLE_ADDRESS, INTERRUPTS));
    /* A self-check at start-up has been and gone; its verdict stays. */
    chip->causes = causes;
    return causes ? KESTREL_FAILED : KESTREL_OK;
}

enum kestrel_result kestrel_expect_network(struct kestrel *chip, uint32_t network_crc, uint16_t height,
                                           uint16_t width)
{
    if (chip->network_crc != network_crc || chip->height != height || chip->width != width)
        return KESTREL_OTHER_NETWORK;
    return request(chip, KESTREL_IMAGE_ADDRESS,
                   (uint32_t)height << KESTREL_IMAGE_HEIGHT_SHIFT | (uint32_t)width << KESTREL_IMAGE_WIDTH_SHIFT);
}

enum kestrel_result kestrel_check(struct kestrel *chip)
{
    TRY(request(chip, KESTREL_CONTROL_ADDRESS, KESTREL_CONTROL_CHECK_MASK));
    return kestrel_wait(chip);
}

enum kestrel_result kestrel_configure(struct kestrel *chip, enum kestrel_output output, uint32_t part)
{
    TRY(request(chip, KESTREL_OUTPUT_ADDRESS, (uint32_t)output << KESTREL_OUTPUT_SELECT_SHIFT));
    return request(chip, KESTREL_PART_ADDRESS, part);
}

enum kestrel_result kestrel_start(struct kestrel *chip)
{
    return request(chip, KESTREL_CONTROL_ADDRESS, KESTREL_CONTROL_START_MASK);
}

enum kestrel_result kestrel_wait(struct kestrel *chip)
{
    uint32_t causes;

    if (chip->board->wait(chip->board->context))
        return KESTREL_TIMEOUT;
    TRY(take_causes(chip, &causes));
    chip->causes = causes;
    return causes ? KESTREL_FAILED : KESTREL_OK;
}

/* Throws away what has come out, where the board can. */
static void cancel(struct kestrel *chip)
{
    if (chip->board->cancel != NULL)
        (void)chip->board->cancel(chip->board->context);
}

/* Has the board take the packet of the frame that is about to start. */
static enum kestrel_result prepare(struct kestrel *chip, uint8_t *data, size_t capacity)
{
    const struct kestrel_board *board = chip->board;

    if (data == NULL || board->prepare == NULL)
        return KESTREL_OK;
    return board->prepare(board->context, data, capacity) ? KESTREL_BUS_FAULT : KESTREL_OK;
}

/* Ends a frame that did not end well. An aborted chip is busy until its last beat has been taken: room is made for
   that first, as the packet may have filled what there was. */
static void give_up(struct kestrel *chip, uint8_t *data, size_t capacity)
{
    (void)put(chip, KESTREL_CONTROL_ADDRESS, KESTREL_CONTROL_ABORT_MASK);
    cancel(chip);
    (void)prepare(chip, data, capacity);
    (void)kestrel_abort(chip);
    cancel(chip);
}

/* Whether the chip has refused a start for a cause of its own. No image must be sent then: it would wait in the
   stream and be taken for the next frame's. */
static enum kestrel_result check_started(struct kestrel *chip)
{
    uint32_t causes;

    TRY(get(chip, KESTREL_ERROR_ADDRESS, &causes));
    if (!(causes & (KESTREL_ERROR_NOT_CHECKED_MASK | KESTREL_ERROR_IMAGE_SIZE_MASK)))
        return KESTREL_OK;
    TRY(take_causes(chip, &chip->causes));
    return KESTREL_FAILED;
}

enum kestrel_result kestrel_frame(struct kestrel *chip, const uint8_t *image, size_t image_bytes,
                                  uint8_t *data, size_t capacity, size_t *bytes)
{
    const struct kestrel_board *board = chip->board;
    enum kestrel_result result = prepare(chip, data, capacity);

    if (result == KESTREL_OK)
        result = kestrel_start(chip);
    if (result != KESTREL_OK) {
        cancel(chip);
        return result;
    }
    result = check_started(chip);
    if (result == KESTREL_OK && board->send(board->context, image, image_bytes))
        result = KESTREL_BUS_FAULT;
    if (result == KESTREL_OK)
        result = kestrel_wait(chip);
    if (result == KESTREL_OK && data != NULL && board->receive(board->context, data, capacity, bytes))
        result = KESTREL_BUS_FAULT;
    if (result != KESTREL_OK)
        give_up(chip, data, capacity);
    return result;
}

enum kestrel_result kestrel_abort(struct kestrel *chip)
{
    uint32_t causes;

    TRY(put(chip, KESTREL_CONTROL_ADDRESS, KESTREL_CONTROL_ABORT_MASK));
    TRY(settle(chip));
    return take_causes(chip, &causes);
}

enum kestrel_result kestrel_soft_reset(struct kestrel *chip)
{
    TRY(put(chip, KESTREL_CONTROL_ADDRESS, KESTREL_CONTROL_SOFT_RESET_MASK));
    return kestrel_open(chip, chip->board);
}

enum kestrel_result kestrel_frames(struct kestrel *chip, uint32_t *frames)
{
    return get(chip, KESTREL_FRAMES_ADDRESS, frames);
}

enum kestrel_result kestrel_cycles(struct kestrel *chip, uint32_t *cycles)
{
    return get(chip, KESTREL_CYCLES_ADDRESS, cycles);
}

enum kestrel_result kestrel_counter(struct kestrel *chip, unsigned index, uint32_t *value)
{
    if (index >= KESTREL_COUNTERS_COUNT)
        return KESTREL_BUS_FAULT;
    return get(chip, KESTREL_COUNTERS_ADDRESS + 4U * index, value);
}

const char *kestrel_cause_text(unsigned bit)
{
    switch (bit) {
#define CASE(name, number, text) case number: return text;
    KESTREL_CAUSES(CASE)
#undef CASE
    default: return NULL;
    }
}
