/*
 * wait - the verb that ends when a restore has come to a state
 */
#ifndef UFFDD_WAIT_H
#define UFFDD_WAIT_H

#include "ctl/ctl.h"

extern const struct args_option wait_options[];

int wait_run(struct ctl *ctl);

enum wait_verdict { WAIT_ON, WAIT_REACHED, WAIT_FAILED, WAIT_LOST };

/* What @restore (the API's object, borrowed) means to a caller that waits for @goal. */
enum wait_verdict wait_judge(struct json_object *restore, const char *goal);

#endif
