/*
 * identity - is the snapshot the one that a page map was begun with?
 *
 * The name of a snapshot is made of what fstat() said about each of its files when it
 * was opened: device, inode, size, mtime. Two snapshots have the same name only if they
 * are the same files, unchanged. A wrong "the same" would be wrong pages, so the name
 * has 128 bits (a name-based UUID).
 *
 * The head of a page map has two names, so that every release goes on from the maps of
 * the one before and of the one after:
 *
 *   source_id    | source_hash   | who made the map     | what is compared
 *   null         | FNV, 64 bits  | release 0.1          | source_hash
 *   UUID         | the same FNV  | every release since  | source_id; release 0.1 compares the hash
 *
 * Pure: reads what the source has kept, asks no file.
 */
#ifndef UFFDD_IDENTITY_H
#define UFFDD_IDENTITY_H

#include <uuid/uuid.h>

#include "common/pagemap.h"
#include "common/wset.h"
#include "worker/source.h"

/* Names it in the head of a map that is being begun. */
void identity_write(const struct source *src, struct pagemap_head *head);
/* Was the map begun with these files, of this length? */
bool identity_same(const struct source *src, const struct pagemap_head *head);
/* Whose working sets are also ours: the same build anywhere, or the same files on this host. */
struct wset_key identity_wset_key(const struct source *src);

#endif
