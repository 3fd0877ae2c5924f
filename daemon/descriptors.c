#include "daemon/descriptors.h"

#include <dirent.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "daemon/log.h"

#define OPEN_FILES "/proc/self/fd"

int descriptors_raise(struct err *err)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return err_sys(err, "ask for the limit of open files");
	if (l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &l))
			return err_sys(err, "raise the limit of open files to %llu",
				       (unsigned long long)l.rlim_max);
	}
	if (l.rlim_cur < DESCRIPTORS_MIN)
		return err_set(err, ERR_SYSTEM,
			       "%llu open files are allowed, at least %d are "
			       "needed, and %d more for each restore: raise the limit "
			       "(LimitNOFILE=, ulimit -Hn)",
			       (unsigned long long)l.rlim_cur, DESCRIPTORS_MIN,
			       DESCRIPTORS_PER_RESTORE);
	log_info("descriptors", "limit=%llu per_restore=%d", (unsigned long long)l.rlim_cur,
		 DESCRIPTORS_PER_RESTORE);
	return 0;
}

uint64_t descriptors_limit(void)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NOFILE, &l) ? 0 : l.rlim_cur;
}

static uint64_t count_one_by_one(void)
{
	DIR *dir = opendir(OPEN_FILES);
	uint64_t n = 0;

	if (!dir)
		return descriptors_limit();
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n - 1;
}

/* Since Linux 6.2 the size of /proc/self/fd is the number of its entries; before it was 0. */
uint64_t descriptors_used(void)
{
	struct stat st;

	if (stat(OPEN_FILES, &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	return count_one_by_one();
}

uint64_t descriptors_for_http(uint64_t wanted)
{
	return min_u64(wanted, descriptors_limit() / 16);
}
