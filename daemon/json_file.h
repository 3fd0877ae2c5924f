/*
 * json_file - a JSON file that the host's operator wrote, read whole and strictly
 *
 * C comments are allowed. Only regular files are read.
 */
#ifndef UFFDD_JSON_FILE_H
#define UFFDD_JSON_FILE_H

#include "common/js.h"

/*
 * json_file_read - reads the object in @path, of at most @max bytes
 * @ret: owned by the caller; NULL if there is no such file
 *
 * Returns 0, or -1 with ERR_INVALID (line and column), ERR_TOOBIG, ERR_PATH or ERR_SYSTEM, whose
 * text does not name the file.
 */
int json_file_read(const char *path, size_t max, struct json_object **ret, struct err *err);

#endif
