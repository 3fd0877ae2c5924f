#include "tests/support/scene.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/sock.h"
#include "tests/fakes/snapshot/snapgen.h"

#define PROBLEM_MEMBERS 5
#define ARGS_MAX 32
#define REQUESTS_MAX 4096
#define ZYGOTE_FDS 2 /* its channel and its pidfd */
#define LONG_POLL_MAX_MS 300000

char *scene_format(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	ck_assert_int_ge(vasprintf(&text, fmt, ap), 0);
	va_end(ap);
	return text;
}

/* --- files --- */

void scene_write(const char *path, const void *bytes, size_t len)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_msg(fd >= 0 && write(fd, bytes, len) == (ssize_t)len, "cannot write %s: %s", path,
		      strerror(errno));
}

static void copy_file(const char *from, const char *to)
{
	cleanup_fd int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_free char *bytes = NULL;
	struct stat st;

	ck_assert_msg(in >= 0 && fstat(in, &st) == 0, "cannot read %s: %s", from, strerror(errno));
	bytes = xcalloc(1, (size_t)st.st_size + 1);
	ck_assert_int_eq(read(in, bytes, (size_t)st.st_size), st.st_size);
	scene_write(to, bytes, (size_t)st.st_size);
}

void scene_copy_dir(const char *from, const char *to)
{
	DIR *dir = opendir(from);

	ck_assert_msg(dir && mkdir(to, 0755) == 0, "cannot copy %s to %s: %s", from, to,
		      strerror(errno));
	for (struct dirent *e; (e = readdir(dir));) {
		cleanup_free char *source = scene_format("%s/%s", from, e->d_name);
		cleanup_free char *target = scene_format("%s/%s", to, e->d_name);

		if (e->d_name[0] != '.')
			copy_file(source, target);
	}
	closedir(dir);
}

void scene_make_snapshot(const char *dir, uint64_t size, uint64_t seed)
{
	struct snapgen_opts o = snapgen_defaults;
	struct err err;

	o.size_bytes = size;
	o.seed = seed;
	ck_assert_msg(snapgen_write(&o, dir, &err) == 0, "%s", err.msg);
}

/* --- the daemon --- */

/* Entries of run/<what>. */
static int count_files(const struct scene *s, const char *what)
{
	cleanup_free char *path = scene_format("%s/%s", s->d.run, what);
	DIR *dir = opendir(path);
	int n = 0;

	ck_assert_msg(dir != NULL, "cannot look into %s: %s", path, strerror(errno));
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static bool pool_is_full(void *arg)
{
	const struct scene *s = arg;

	return harness_count_workers(s->d.pid) == SCENE_POOL;
}

/* Those of the control socket's connections, by their inodes. */
struct requests {
	size_t n;
	unsigned long inodes[REQUESTS_MAX];
};

static void find_requests(const struct scene *s, struct requests *ret)
{
	cleanup_file FILE *f = fopen("/proc/net/unix", "re");
	char line[512], path[sizeof(s->d.socket)];
	unsigned long inode;

	ret->n = 0;
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu %107s", &inode, path) == 2 &&
		    strcmp(path, s->d.socket) == 0 && ret->n < REQUESTS_MAX)
			ret->inodes[ret->n++] = inode;
}

/* Not its listening socket, which is one and stays: it is subtracted on both sides. */
static bool is_request(const struct requests *r, const char *link)
{
	unsigned long inode;

	if (sscanf(link, "socket:[%lu]", &inode) != 1)
		return false;
	for (size_t i = 0; i < r->n; i++)
		if (r->inodes[i] == inode)
			return true;
	return false;
}

/*
 * A connection closes a moment after its reply, the database opens some of its files when it
 * is first written to, and a zygote that does not answer is ended: none of it is counted.
 */
int scene_count_fds(const struct scene *s)
{
	cleanup_free char *path = scene_format("/proc/%d/fd", (int)s->d.pid);
	struct requests requests;
	DIR *dir = opendir(path);
	int nurseries = harness_count_children(s->d.pid) - harness_count_workers(s->d.pid);
	int n = -nurseries * ZYGOTE_FDS;

	ck_assert_msg(dir != NULL, "cannot look into %s: %s", path, strerror(errno));
	find_requests(s, &requests);
	for (struct dirent *e; (e = readdir(dir));) {
		char link[PATH_MAX] = "";

		if (readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1) > 0 &&
		    strncmp(link, s->d.state, strlen(s->d.state)) != 0 &&
		    !is_request(&requests, link))
			n++;
	}
	closedir(dir);
	return n;
}

static bool is_at_rest(void *arg)
{
	struct scene *s = arg;

	return pool_is_full(arg) && count_files(s, "uffd") == 0 && count_files(s, "maps") == 0 &&
	       count_files(s, "files") == 0 && scene_count_fds(s) == s->fds;
}

void scene_at_rest(struct scene *s)
{
	ck_assert_msg(harness_wait(is_at_rest, s, SCENE_MS),
		      "the daemon is not as before: %d descriptors of %d, %d workers of %d, "
		      "%d sockets, %d page maps",
		      scene_count_fds(s), s->fds, harness_count_workers(s->d.pid), SCENE_POOL,
		      count_files(s, "uffd"), count_files(s, "maps"));
}

void scene_open(struct scene *s)
{
	const char *more = s->config;

	s->config_text = scene_format("{\"pool_workers\":%d%s%s}", SCENE_POOL, more ? "," : "",
				      more ? more : "");
	s->d.config = s->config_text;
	harness_daemon_start(&s->d, NULL);
	scene_create(s, "0-warm-up", SCENE_SNAPSHOT, "\"connect_timeout\":\"30s\"");
	scene_delete(s, "0-warm-up", "");
	ck_assert_msg(harness_wait(pool_is_full, s, SCENE_MS), "no workers wait");
	/* Not in the middle of starting the last of them. */
	scene_tell(s, 200, "GET", "/healthz", NULL);
	s->fds = scene_count_fds(s);
}

static bool is_unlocked(void *arg)
{
	const struct scene *s = arg;
	cleanup_fd int fd = open(s->d.run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* A worker between fork and exec has all descriptors of the daemon, and its locks. */
static void wait_for_locks(struct scene *s)
{
	ck_assert_msg(harness_wait(is_unlocked, s, SCENE_MS), "%s stays locked", s->d.run);
}

void scene_kill(struct scene *s)
{
	harness_daemon_kill(&s->d);
	wait_for_locks(s);
}

void scene_stop(struct scene *s)
{
	int status = -1;

	ck_assert_int_eq(kill(s->d.pid, SIGTERM), 0);
	ck_assert_int_eq(waitpid(s->d.pid, &status, 0), s->d.pid);
	ck_assert_msg(status == 0, "the daemon stopped with wait status %#x", (unsigned)status);
	s->d.pid = 0;
	wait_for_locks(s);
}

void scene_close(struct scene *s)
{
	scene_at_rest(s);
	harness_daemon_stop(&s->d);
	free(s->config_text);
}

/* --- asking --- */

struct json_object *scene_ask(const struct scene *s, int status, const char *method,
			      const char *target, const char *body)
{
	struct json_object *o;
	struct harness_reply r;
	struct err err;

	harness_http(s->d.socket, method, target, body, &r);
	ck_assert_msg(r.status == status, "%s %s: %d, not %d: %s", method, target, r.status, status,
		      r.body ? r.body : "(no reply)");
	ck_assert_str_eq(r.content_type, "application/json");
	o = js_parse(r.body, r.len, false, &err);
	ck_assert_msg(o != NULL, "%s %s: %s: %s", method, target, err.msg, r.body);
	harness_reply_fini(&r);
	return o;
}

void scene_tell(const struct scene *s, int status, const char *method, const char *target,
		const char *body)
{
	json_object_put(scene_ask(s, status, method, target, body));
}

void scene_check_problem(const struct harness_reply *r, const char *what, enum err_code code,
			 const char *detail)
{
	cleanup_free char *type = scene_format("urn:uffdd:problem:%s", err_name(code));
	cleanup_json struct json_object *o = NULL;
	struct err err;

	ck_assert_msg(r->status == err_http(code), "%s: %d, not %d: %s", what, r->status,
		      err_http(code), r->body ? r->body : "(no reply)");
	ck_assert_msg(strcmp(r->content_type, "application/problem+json") == 0, "%s: %s", what,
		      r->content_type);
	o = js_parse(r->body, r->len, false, &err);
	ck_assert_msg(o != NULL, "%s: %s: %s", what, err.msg, r->body);
	ck_assert_msg(strstr(scene_text(o, "detail"), detail) != NULL, "%s: no \"%s\" in: %s", what,
		      detail, r->body);
	ck_assert_str_eq(scene_text(o, "code"), err_name(code));
	ck_assert_str_eq(scene_text(o, "type"), type);
	ck_assert_str_eq(scene_text(o, "title"), err_title(code));
	ck_assert_uint_eq(scene_number(o, "status"), (uint64_t)err_http(code));
	ck_assert_int_eq(json_object_object_length(o), PROBLEM_MEMBERS);
}

void scene_refused(const struct scene *s, const char *method, const char *target, const char *body,
		   enum err_code code, const char *detail)
{
	cleanup_free char *what = scene_format("%s %s %.200s", method, target, body ? body : "");
	struct harness_reply r;

	harness_http(s->d.socket, method, target, body, &r);
	scene_check_problem(&r, what, code, detail);
	harness_reply_fini(&r);
}

struct json_object *scene_member(struct json_object *o, const char *path)
{
	cleanup_free char *names = strdup(path);
	struct json_object *at = o;

	for (char *rest = names, *name; (name = strsep(&rest, "."));)
		ck_assert_msg(json_object_object_get_ex(at, name, &at), "no %s in %s", path,
			      json_object_to_json_string(o));
	return at;
}

const char *scene_text(struct json_object *o, const char *path)
{
	struct json_object *m = scene_member(o, path);

	ck_assert_msg(!m || json_object_is_type(m, json_type_string), "%s is no text", path);
	return m ? json_object_get_string(m) : "";
}

uint64_t scene_number(struct json_object *o, const char *path)
{
	struct json_object *m = scene_member(o, path);

	ck_assert_msg(json_object_is_type(m, json_type_int), "%s is no number", path);
	return json_object_get_uint64(m);
}

bool scene_flag(struct json_object *o, const char *path)
{
	struct json_object *m = scene_member(o, path);

	ck_assert_msg(json_object_is_type(m, json_type_boolean), "%s is no flag", path);
	return json_object_get_boolean(m);
}

/* --- restores --- */

const char *scene_patient(const char *more)
{
	return more && strstr(more, "\"connect_timeout\"") ? "" : ",\"connect_timeout\":\"1h\"";
}

char *scene_body(const char *dir, const char *more)
{
	return scene_format("{\"snapshot\":{\"dir\":\"%s\"}%s%s%s}", dir, more ? "," : "",
			    more ? more : "", scene_patient(more));
}

void scene_create(const struct scene *s, const char *id, const char *dir, const char *more)
{
	cleanup_free char *target = scene_format("/v1/restores/%s", id);
	cleanup_free char *body = scene_body(dir, more);

	scene_tell(s, 201, "PUT", target, body);
}

struct json_object *scene_show(const struct scene *s, const char *id)
{
	cleanup_free char *target = scene_format("/v1/restores/%s", id);

	return scene_ask(s, 200, "GET", target, NULL);
}

int scene_poll_ms(void)
{
	return (int)min_u64((uint64_t)harness_scale_ms(SCENE_MS), LONG_POLL_MAX_MS);
}

void scene_reach(const struct scene *s, const char *id, const char *state, const char *reason)
{
	cleanup_free char *target = scene_format("/v1/restores/%s?for=%s&wait=%dms", id, state,
						 scene_poll_ms());
	cleanup_json struct json_object *o = scene_ask(s, 200, "GET", target, NULL);

	ck_assert_msg(strcmp(scene_text(o, "state"), state) == 0 &&
			      strstr(scene_text(o, "reason"), reason),
		      "%s is not %s (%s): %s", id, state, reason, json_object_to_json_string(o));
}

void scene_delete(const struct scene *s, const char *id, const char *query)
{
	cleanup_free char *target = scene_format("/v1/restores/%s%s", id, query);

	scene_tell(s, 200, "DELETE", target, NULL);
}

char *scene_events(const struct scene *s, const char *id)
{
	cleanup_free char *target = scene_format("/v1/events?restore=%s", id);
	struct harness_reply r;
	char *types = strdup("");

	harness_http(s->d.socket, "GET", target, NULL, &r);
	ck_assert_int_eq(r.status, 200);
	for (char *rest = r.body, *line; (line = strsep(&rest, "\n")) && *line;) {
		struct err err;
		cleanup_json struct json_object *o = js_parse(line, strlen(line), false, &err);
		char *before = types;

		ck_assert_msg(o != NULL, "%s: %s", err.msg, line);
		types = scene_format("%s%s ", before, scene_text(o, "type"));
		free(before);
	}
	harness_reply_fini(&r);
	return types;
}

/* --- connections that stay open --- */

int scene_dial(const struct scene *s, const char *target)
{
	cleanup_free char *request = scene_format("GET %s HTTP/1.1\r\nHost: u\r\n"
						  "Connection: close\r\n\r\n",
						  target);
	struct err err;
	int fd;

	ck_assert_msg(sock_connect(s->d.socket, SOCK_STREAM, &fd, &err) == 0, "%s", err.msg);
	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL),
			 (ssize_t)strlen(request));
	return fd;
}

char *scene_hear(int fd, const char *needle)
{
	uint64_t by = now_us() + (uint64_t)harness_scale_ms(2 * SCENE_MS) * 1000;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char *text = xcalloc(1, 1);
	size_t len = 0;

	while (!needle || !strstr(text, needle)) {
		ssize_t n;

		ck_assert_msg(now_us() < by, "waited in vain for \"%s\", got: %s",
			      needle ? needle : "(the end)", text);
		if (poll(&p, 1, 100) <= 0)
			continue;
		text = realloc(text, len + 4096 + 1);
		ck_assert_ptr_nonnull(text);
		n = recv(fd, text + len, 4096, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
		text[len] = '\0';
		if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
			continue;
		ck_assert_msg(!needle, "the end came before \"%s\": %s", needle, text);
		break;
	}
	return text;
}

/* --- VMMs --- */

/* It does not outlive the test. */
static void become_vmm(int in, int out, char **argv) __attribute__((noreturn));
static void become_vmm(int in, int out, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	execv(argv[0], argv);
	_exit(127);
}

void scene_vmm_start_at(struct scene_vmm *v, const char *socket, const char *image,
			const char *args)
{
	cleanup_free char *timeout = scene_format("%d", harness_scale_ms(SCENE_MS) / 1000);
	char *argv[ARGS_MAX + 1] = {(char *)TEST_BUILD "/tests/standin",
				    (char *)"--timeout",
				    timeout,
				    (char *)"--socket",
				    (char *)(uintptr_t)socket,
				    (char *)"--image",
				    (char *)(uintptr_t)image};
	cleanup_free char *words = strdup(args);
	size_t n = 7;
	int in[2];

	for (char *rest = words, *word; (word = strsep(&rest, " "));) {
		ck_assert_uint_lt(n, ARGS_MAX);
		if (*word)
			argv[n++] = word;
	}
	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	v->out = memfd_create("output", MFD_CLOEXEC);
	ck_assert_int_ge(v->out, 0);
	v->pid = fork();
	ck_assert_msg(v->pid >= 0, "fork: %s", strerror(errno));
	if (v->pid == 0)
		become_vmm(in[0], v->out, argv);
	close(in[0]);
	v->in = in[1];
}

void scene_vmm_start(struct scene_vmm *v, const struct scene *s, const char *id, const char *args)
{
	cleanup_json struct json_object *o = scene_show(s, id);
	cleanup_free char *image = scene_format("%s/" SCENE_IMAGE, scene_text(o, "snapshot.dir"));

	scene_vmm_start_at(v, scene_text(o, "socket.path"), image, args);
}

char *scene_vmm_text(const struct scene_vmm *v)
{
	char *text = xcalloc(1, 1);
	struct stat st;

	ck_assert_int_eq(fstat(v->out, &st), 0);
	text = realloc(text, (size_t)st.st_size + 1);
	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(pread(v->out, text, (size_t)st.st_size, 0), st.st_size);
	text[st.st_size] = '\0';
	return text;
}

struct awaited {
	const struct scene_vmm *v;
	const char *words;
};

static bool has_said(void *arg)
{
	const struct awaited *a = arg;
	cleanup_free char *text = scene_vmm_text(a->v);

	return strstr(text, a->words) || !scene_vmm_lives(a->v);
}

void scene_vmm_await(const struct scene_vmm *v, const char *words)
{
	struct awaited a = {v, words};
	bool in_time = harness_wait(has_said, &a, SCENE_MS);
	cleanup_free char *text = scene_vmm_text(v);

	ck_assert_msg(in_time && strstr(text, words), "the VMM does not say \"%s\" but:\n%s", words,
		      text);
}

void scene_vmm_go(const struct scene_vmm *v)
{
	ck_assert_int_eq(write(v->in, "\n", 1), 1);
}

bool scene_vmm_lives(const struct scene_vmm *v)
{
	siginfo_t ended = {0};

	return v->pid && waitid(P_PID, (id_t)v->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       ended.si_pid == 0;
}

static bool has_ended(void *arg)
{
	return !scene_vmm_lives(arg);
}

int scene_vmm_end(struct scene_vmm *v)
{
	int status;

	close_fd(&v->in);
	if (!harness_wait(has_ended, v, 2 * SCENE_MS)) {
		cleanup_free char *text = scene_vmm_text(v);

		kill(v->pid, SIGKILL);
		ck_abort_msg("the VMM does not end; it wrote:\n%s", text);
	}
	ck_assert_int_eq(waitpid(v->pid, &status, 0), v->pid);
	v->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void scene_vmm_right(struct scene_vmm *v)
{
	int code = scene_vmm_end(v);
	cleanup_free char *text = scene_vmm_text(v);

	ck_assert_msg(code == 0 && strstr(text, "verified ") && strstr(text, "\"wrong\":0,"),
		      "exit %d, it wrote:\n%s", code, text);
	close_fd(&v->out);
}

void scene_vmm_kill(struct scene_vmm *v)
{
	ck_assert_int_eq(kill(v->pid, SIGKILL), 0);
	ck_assert_int_eq(scene_vmm_end(v), 128 + SIGKILL);
	close_fd(&v->out);
}
