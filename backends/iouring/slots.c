/* iouring/slots.c: the in-flight table grows by segments, which never move: the kernel holds addresses inside them. */
#include "slots.h"

#include <errno.h>
#include <string.h>

#define ROOM_FIRST 8u

static int directory_grow(struct nxi_slots *slots)
{
    uint32_t room = slots->segment_room ? 2 * slots->segment_room : ROOM_FIRST;
    struct nxi_slot_segment **segments = slots->host->alloc(room * sizeof(*segments), 0);
    if (!segments)
        return -ENOMEM;
    if (slots->segment_count)
        memcpy(segments, slots->segments, slots->segment_count * sizeof(*segments));
    slots->host->free(slots->segments, slots->segment_room * sizeof(*segments));
    slots->segments = segments;
    slots->segment_room = room;
    return 0;
}

int nxi_slots_grow(struct nxi_slots *slots)
{
    if (slots->segment_count == slots->segment_room && directory_grow(slots) < 0)
        return -ENOMEM;
    struct nxi_slot_segment *segment = slots->host->alloc(sizeof(*segment), 64);
    if (!segment)
        return -ENOMEM;
    uint32_t first = slots->segment_count << NXI_SLOT_SHIFT;
    for (uint32_t i = 0; i < NXI_SLOT_SEGMENT; i++) {
        segment->slots[i].token = first + i;
        segment->slots[i].next = i + 1 < NXI_SLOT_SEGMENT ? &segment->slots[i + 1] : slots->free_first;
    }
    slots->segments[slots->segment_count++] = segment;
    slots->free_first = segment->slots;
    return 0;
}

union nxi_slot_extra *nxi_slots_extra(struct nxi_slots *slots, const struct nxi_slot *slot)
{
    uint32_t index = NXI_TOKEN_INDEX(slot->token);
    struct nxi_slot_segment *segment = slots->segments[index >> NXI_SLOT_SHIFT];
    if (!segment->extra)
        segment->extra = slots->host->alloc(NXI_SLOT_SEGMENT * sizeof(*segment->extra), 64);
    return segment->extra ? &segment->extra[index & (NXI_SLOT_SEGMENT - 1)] : NULL;
}

void nxi_slots_destroy(struct nxi_slots *slots)
{
    for (uint32_t i = 0; i < slots->segment_count; i++) {
        slots->host->free(slots->segments[i]->extra, NXI_SLOT_SEGMENT * sizeof(union nxi_slot_extra));
        slots->host->free(slots->segments[i], sizeof(struct nxi_slot_segment));
    }
    slots->host->free(slots->segments, slots->segment_room * sizeof(*slots->segments));
}
