/*
 * The record is written so that whoever reads it after a kill between any two instructions finds
 * nothing that isn't there: start before the bytes are overwritten, end after they are written. Of
 * a stream on the heap nothing is kept, but it says how far that went.
 */
#include "engine/ring_record.h"

#include "engine/spool.h"

void
ring_record_start(struct ring *r, int64_t start)
{
	if (r->slot) {
		atomic_store_explicit(&r->slot->record->start, start, memory_order_relaxed);
		/* The stores that overwrite them are not to come before. */
		atomic_thread_fence(memory_order_release);
	}
}

void
ring_record_lost(struct ring *r, int error)
{
	ring_record_start(r, r->end);
	if (r->error == 0)
		atomic_store_explicit(&r->slot->record->error, error, memory_order_relaxed);
}

void
ring_record_storage(struct ring *r)
{
	struct spool_record *rec;

	if (!r->slot)
		return;
	rec = r->slot->record;
	if (r->fd < 0)
		atomic_store_explicit(&rec->slot_room, r->room, memory_order_relaxed);
	else
		atomic_store_explicit(&rec->file_room, r->room, memory_order_relaxed);
	atomic_store_explicit(&rec->storage,
	    r->fd < 0 ? SPOOL_STORAGE_SLOT : SPOOL_STORAGE_FILE, memory_order_release);
}

void
ring_set_bounds(struct ring *r, int64_t start, int64_t end)
{
	int64_t more = (end - start) - (r->end - r->start);

	ring_record_start(r, r->memory != NULL && !ring_is_in_slot(r) ? end : start);
	if (r->slot)
		atomic_store_explicit(&r->slot->record->end, end, memory_order_release);
	r->start = start;
	if (end != r->end) /* only the writer changes end; it reads it without the lock */
		r->end = end;
	if (more != 0)
		atomic_fetch_add_explicit(&r->group->kept_bytes, more, memory_order_relaxed);
}

void
ring_set_error(struct ring *r, int error)
{
	if (r->error != 0)
		return;
	r->error = error;
	if (r->slot)
		atomic_store_explicit(&r->slot->record->error, error, memory_order_relaxed);
}
