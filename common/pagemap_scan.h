/*
 * pagemap_scan - the kernel's ioctl of /proc/PID/pagemap, where its headers are older
 *
 * The definitions of linux/fs.h since Linux 6.7: Documentation/admin-guide/mm/pagemap.rst.
 */
#ifndef UFFDD_PAGEMAP_SCAN_H
#define UFFDD_PAGEMAP_SCAN_H

#include <stdint.h>
#include <sys/ioctl.h>

#ifndef PAGEMAP_SCAN
struct page_region {
	uint64_t start, end, categories;
};
struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WRITTEN (1 << 1)
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_SWAPPED (1 << 4)
#endif

#endif
