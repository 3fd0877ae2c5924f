/*
 * identity - is the snapshot the one that a page map was begun with?
 *
 * A snapshot's name is made of what fstat() said about each of its files when the file was opened:
 * device, inode, size, mtime. Two snapshots have the same name only if they are the same files,
 * unchanged. A wrong "the same" would mean wrong pages, so the name has 128 bits (a name-based
 * UUID).
 *
 * The head of a page map has two names, so that every release reads the maps of the releases before
 * and after it:
 *
 *   source_id    | source_hash   | who made the map     | what is compared
 *   null         | FNV, 64 bits  | release 0.1          | source_hash
 *   UUID         | the same FNV  | every release since  | source_id; release 0.1 compares the hash
 *
 * Pure: uses what fstat() has said, and no file.
 */
#ifndef UFFDD_IDENTITY_H
#define UFFDD_IDENTITY_H

#include <uuid/uuid.h>

#include "common/pagemap.h"
#include "common/wset.h"
#include "worker/source.h"

/* Writes both names into the head of a new map. */
void identity_write(const struct source *src, struct pagemap_head *head);
/* Was the map begun with these files, and with a snapshot of this length? */
bool identity_same(const struct source *src, const struct pagemap_head *head);
/*
 * As far as the files alone tell: was the map begun with those of which fstat() has said @seen, in
 * the order of source_fd()?
 */
bool identity_given(const struct stat *seen, size_t n, const struct pagemap_head *head);
/*
 * The key of this snapshot's working sets: the same for the same build on any host, or for the same
 * files on this host.
 */
struct wset_key identity_wset_key(const struct source *src);

#endif
