/*
 * uffdd - the supervisor
 */
#include <config.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "daemon/api.h"
#include "common/foreign.h"
#include "daemon/closer.h"
#include "daemon/descriptors.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/selftest.h"
#include "daemon/supervisor.h"
#include "daemon/timer.h"

/* In the build tree the worker lies beside the daemon; installed, where configure said. */
static void find_worker(struct conf *conf)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (conf->worker[0])
		return;
	snprintf(conf->worker, sizeof(conf->worker), "%s/uffdd-worker", PKGLIBEXECDIR);
	if (n <= 0)
		return;
	self[n] = '\0';
	slash = strstr(self, "/daemon/uffdd");
	if (slash && slash[strlen("/daemon/uffdd")] == '\0') {
		*slash = '\0';
		snprintf(conf->worker, sizeof(conf->worker), "%.*s/worker/uffdd-worker",
			 CONF_PATH_MAX - 32, self);
	}
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)what;
	log_notice("stopping", "signal=%d", (int)sig);
	event_base_loopbreak(arg);
}

static void on_libevent_log(int severity, const char *text)
{
	log_line(severity >= EVENT_LOG_WARN ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "libevent: %s",
		 text);
}

static int serve(const struct conf *conf, struct err *err)
{
	struct event_base *base = timer_base_new();
	struct api_parts parts = {.base = base, .conf = conf};
	struct event *term, *intr;
	struct api *api = NULL;
	int rc = -1;

	if (!base)
		return err_set(err, ERR_SYSTEM, "no event loop can be made");
	term = evsignal_new(base, SIGTERM, on_signal, base);
	intr = evsignal_new(base, SIGINT, on_signal, base);
	event_add(term, NULL);
	event_add(intr, NULL);
	notify_open();
	foreign_close_by(closer_close);
	if (supervisor_new(base, conf, &parts.sup, err) == 0) {
		parts.store = parts.sup->host.store;
		rc = api_new(&parts, &api, err);
	}
	if (rc == 0) {
		notify_close();
		notify_send("READY=1");
		event_base_dispatch(base);
		notify_send("STOPPING=1");
	}
	api_free(api);
	supervisor_free(parts.sup);
	closer_stop();
	event_free(term);
	event_free(intr);
	event_base_free(base);
	libevent_global_shutdown();
	return rc;
}

static int run(struct conf *conf, struct err *err)
{
	log_set_level(conf->log_level);
	event_set_log_callback(on_libevent_log);
	signal(SIGPIPE, SIG_IGN);
	/* With an inherited SIG_IGN we would not see workers end. */
	signal(SIGCHLD, SIG_DFL);
	if (descriptors_raise(err))
		return -1;
	find_worker(conf);
	if (conf->libevent_selftest && selftest_libevent(err))
		return -1;
	return serve(conf, err);
}

/* What is not in the file itself is read, too. */
static int check(const struct conf *conf, struct err *err)
{
	struct tenants tenants;

	if (tenants_load(conf, &tenants, err))
		return -1;
	tenants_fini(&tenants);
	printf("%s: the configuration is valid\n", conf->file);
	return 0;
}

int main(int argc, char **argv)
{
	enum conf_outcome outcome;
	struct conf conf;
	struct err err;
	int rc;

	log_open("uffdd");
	if (conf_parse_args(argc, argv, &conf, &outcome, &err)) {
		log_error("cannot start", "why=%s", err.msg);
		return 2;
	}
	switch (outcome) {
	case CONF_HELP:
		conf_print_help(stdout);
		return 0;
	case CONF_VERSION:
		printf("uffdd %s\n", PACKAGE_VERSION);
		return 0;
	case CONF_CHECK:
		rc = check(&conf, &err);
		if (rc)
			log_error("cannot start", "why=%s", err.msg);
		return rc ? 2 : 0;
	case CONF_RUN:
		break;
	}
	rc = run(&conf, &err);
	if (rc)
		log_error("cannot run", "why=%s", err.msg);
	return rc ? 1 : 0;
}
