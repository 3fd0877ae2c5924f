#include "worker/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "common/base.h"

/* Of linux/landlock.h, where the headers are older than the kernel. */
struct ruleset {
	uint64_t fs, net, scoped;
};

struct beneath {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

#define VERSION_FLAG 1
#define RULE_BENEATH 1
#define REMOVE_FILE ((uint64_t)1 << 5)

/* Rights by ABI: bits up to @fs, TCP, abstract sockets and signals. */
/* clang-format off */
static const struct {
	int abi;
	struct ruleset rights;
} known[] = {
	{6, {(1u << 16) - 1, 3, 3}},
	{5, {(1u << 16) - 1, 3, 0}},
	{4, {(1u << 15) - 1, 3, 0}},
	{3, {(1u << 15) - 1, 0, 0}},
	{2, {(1u << 14) - 1, 0, 0}},
	{1, {(1u << 13) - 1, 0, 0}},
};
/* clang-format on */

static int allow_removing(int rules, const char *dir, struct err *err)
{
	cleanup_fd int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct beneath rule = {REMOVE_FILE, fd};

	if (fd < 0 || syscall(SYS_landlock_add_rule, rules, RULE_BENEATH, &rule, 0))
		return err_sys(err, "keep the right to remove the socket from %s", dir);
	return 0;
}

static int enter(const struct ruleset *rights, const char *removable, struct err *err)
{
	cleanup_fd int rules = (int)syscall(SYS_landlock_create_ruleset, rights, sizeof(*rights),
					    0);

	if (rules < 0)
		return err_sys(err, "give up the file system");
	if (removable && allow_removing(rules, removable, err))
		return -1;
	if (syscall(SYS_landlock_restrict_self, rules, 0))
		return err_sys(err, "give up the file system");
	return 0;
}

int landlock_enter(const char *removable, struct err *err)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, VERSION_FLAG);

	if (abi < 0 && errno != ENOSYS && errno != EOPNOTSUPP)
		return err_sys(err, "ask for Landlock");
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (abi >= known[i].abi)
			return enter(&known[i].rights, removable, err);
	return 0;
}
