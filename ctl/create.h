/*
 * create - the verb that asks for a restore
 */
#ifndef UFFDD_CREATE_H
#define UFFDD_CREATE_H

#include "ctl/ctl.h"

extern const struct args_option create_options[];

int create_run(struct ctl *ctl);

/*
 * create_body - the request as the API wants it, from the options of the verb
 *
 * Relative paths become absolute: the daemon has another working directory. Returns 0 and an object
 * owned by the caller, or -1 with ERR_INVALID naming the option, or ERR_SYSTEM (no current
 * directory).
 */
int create_body(const struct args *args, struct json_object **ret, struct err *err);

#endif
