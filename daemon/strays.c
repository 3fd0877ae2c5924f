#include "daemon/strays.h"

#include "common/proc.h"

static size_t find(const struct strays *s, pid_t pid)
{
	size_t i = 0;

	while (i < s->n && s->v[i].pid != pid)
		i++;
	return i;
}

void strays_note(struct strays *s, const char *key, const struct sock_peer *who, const char *why)
{
	size_t i = find(s, who->pid);

	if (i == STRAYS_MAX)
		return;
	if (!s->v)
		s->v = xcalloc(STRAYS_MAX, sizeof(*s->v));
	s->n = max_u64(s->n, i + 1);
	s->v[i] = (struct stray){
		.pid = who->pid,
		.uid = who->uid,
		.start = proc_start_time(who->pid),
	};
	snprintf(s->v[i].key, sizeof(s->v[i].key), "%s", key);
	snprintf(s->v[i].why, sizeof(s->v[i].why), "%s", why);
}

void strays_forget(struct strays *s, pid_t pid)
{
	size_t i = find(s, pid);

	if (i < s->n)
		s->v[i] = s->v[--s->n];
}

static bool has_ended(const struct stray *s)
{
	return !s->start || proc_start_time(s->pid) != s->start;
}

void strays_drop_ended(struct strays *s)
{
	for (size_t i = 0; i < s->n;) {
		if (!has_ended(&s->v[i]))
			i++;
		else
			s->v[i] = s->v[--s->n];
	}
}

void strays_fini(struct strays *s)
{
	free(s->v);
	*s = (struct strays){0};
}
