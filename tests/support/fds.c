#include "tests/support/fds.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

int fds_count(pid_t pid)
{
	char path[32];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return pid == getpid() ? n - 1 : n;
}
