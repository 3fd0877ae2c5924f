#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/scene.h"

#define ARGS_MAX 32

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
