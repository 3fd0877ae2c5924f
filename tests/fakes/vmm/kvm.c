/* kvm - a guest of a few dozen bytes */
#include "tests/fakes/vmm/kvm.h"

#include <string.h>

#define KVM_FACTOR 0x9e3779b97f4a7c15

uint64_t kvm_sum(const uint8_t *bytes, uint64_t len)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < len; i += sizeof(sum)) {
		uint64_t word;

		memcpy(&word, bytes + i, sizeof(word));
		sum = (sum ^ word) * KVM_FACTOR;
	}
	return sum;
}

#ifndef __x86_64__

bool kvm_available(struct err *why)
{
	(void)err_set(why, ERR_SYSTEM, "the guest's code is for x86-64");
	return false;
}

int kvm_read_all(struct vmm *v, unsigned vcpus, enum walk_order order, uint64_t *ret_sums,
		 struct err *err)
{
	(void)v;
	(void)vcpus;
	(void)order;
	(void)ret_sums;
	return err_set(err, ERR_SYSTEM, "the guest's code is for x86-64");
}

#else

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* Where things are in the control slot, bytes. The page directories come last. */
#define CODE_GPA ((uint64_t)0x1000)
#define PML4_GPA ((uint64_t)0x2000)
#define PDPT_GPA ((uint64_t)0x3000)
#define LISTS_GPA ((uint64_t)0x4000)
#define LIST_PAGES ((uint64_t)512)
#define LIST_BYTES (LIST_PAGES * sizeof(uint64_t))
#define DIRS_GPA (LISTS_GPA + KVM_VCPUS_MAX * LIST_BYTES)

#define GIB ((uint64_t)1 << 30)
#define TABLE_ENTRIES 512
#define ENTRY_TABLE 0x7 /* present, writable, for user mode */
#define ENTRY_2M 0x87   /* the same, and maps 2 MiB */
#define TSS_GPA 0xfffbd000

#define CR0_PE_ET_PG 0x80000011
#define CR4_PAE 0x20
#define EFER_LME_LMA 0x500
#define RFLAGS_IOPL_3 0x3002 /* user mode may use OUT */
#define CPUID_ENTRIES 256

/*
 * rdi: list of page addresses, replaced by their sums; rcx: how many, at least 1;
 * rdx: words per page; r8: the factor
 *
 * It runs in user mode and leaves by OUT: a KVM without help from the hardware
 * interprets what runs in supervisor mode, forty times slower.
 */
/* clang-format off */
static const uint8_t code[] = {
	0x48, 0x8b, 0x37,             /* next: mov (%rdi), %rsi */
	0x48, 0x89, 0xd3,             /*       mov %rdx, %rbx */
	0x31, 0xc0,                   /*       xor %eax, %eax */
	0x48, 0x33, 0x06,             /* word: xor (%rsi), %rax */
	0x49, 0x0f, 0xaf, 0xc0,       /*       imul %r8, %rax */
	0x48, 0x83, 0xc6, 0x08,       /*       add $8, %rsi */
	0x48, 0xff, 0xcb,             /*       dec %rbx */
	0x75, 0xf0,                   /*       jnz word */
	0x48, 0x89, 0x07,             /*       mov %rax, (%rdi) */
	0x48, 0x83, 0xc7, 0x08,       /*       add $8, %rdi */
	0x48, 0xff, 0xc9,             /*       dec %rcx */
	0x75, 0xdc,                   /*       jnz next */
	0xe6, 0x00,                   /*       out %al, $0 */
};
/* clang-format on */

struct machine {
	int kvm, vm;
	uint8_t *control; /* owned mapping */
	uint64_t control_bytes;
	struct kvm_cpuid2 *cpuid; /* owned */
};

struct vcpu {
	struct machine *m;
	struct vmm *v;
	unsigned index, of;
	enum walk_order order;
	uint64_t *sums;
	int fd;
	struct kvm_run *run; /* mapping of the vCPU, run_bytes */
	uint64_t run_bytes;
	pthread_t id;
	char name[16];
	struct walker seat;
	int rc;
	struct err err;
};

bool kvm_available(struct err *why)
{
	cleanup_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	cleanup_fd int vm = -1;
	cleanup_fd int cpu = -1;

	if (kvm < 0)
		(void)err_sys(why, "/dev/kvm");
	else if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		(void)err_set(why, ERR_SYSTEM, "/dev/kvm speaks another version");
	else if ((vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0)
		(void)err_sys(why, "/dev/kvm makes no VM");
	else if ((cpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0)
		(void)err_sys(why, "/dev/kvm makes no vCPU");
	return cpu >= 0;
}

static void write_table(struct machine *m, uint64_t table_gpa, uint64_t index, uint64_t entry)
{
	memcpy(m->control + table_gpa + index * sizeof(entry), &entry, sizeof(entry));
}

/* Identity, by 2 MiB: the first GiB for the control slot, and guest memory. */
static void build_tables(struct machine *m, uint64_t gibs)
{
	uint64_t first = KVM_MEMORY_GPA / GIB;

	write_table(m, PML4_GPA, 0, PDPT_GPA | ENTRY_TABLE);
	for (uint64_t k = 0; k <= gibs; k++) {
		uint64_t gib = k == 0 ? 0 : first + k - 1;
		uint64_t dir = DIRS_GPA + k * PAGE_4K;

		write_table(m, PDPT_GPA, gib, dir | ENTRY_TABLE);
		for (uint64_t i = 0; i < TABLE_ENTRIES; i++)
			write_table(m, dir, i, (gib * GIB + i * PAGE_2M) | ENTRY_2M);
	}
	memcpy(m->control + CODE_GPA, code, sizeof(code));
}

static int add_slot(struct machine *m, uint32_t slot, uint64_t gpa, void *addr, uint64_t bytes)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uint64_t)addr,
	};

	return ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static int add_memory(struct machine *m, const struct vmm *v, struct err *err)
{
	uint64_t gibs = align_up(v->size, GIB) / GIB;

	m->control_bytes = DIRS_GPA + (gibs + 1) * PAGE_4K;
	m->control = mmap(NULL, m->control_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->control == MAP_FAILED) {
		m->control = NULL;
		return err_sys(err, "mapping the guest's page tables");
	}
	build_tables(m, gibs);
	if (add_slot(m, 0, 0, m->control, m->control_bytes))
		return err_sys(err, "giving the guest its page tables");
	for (uint32_t i = 0; i < v->regions.n; i++) {
		const struct region *r = &v->regions.v[i];

		if (add_slot(m, i + 1, KVM_MEMORY_GPA + r->offset, (void *)r->base, r->size))
			return err_sys(err, "giving the guest its region %" PRIu32, i);
	}
	return 0;
}

static int machine_open(struct machine *m, const struct vmm *v, struct err *err)
{
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->kvm < 0)
		return err_sys(err, "/dev/kvm");
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0 || ioctl(m->vm, KVM_SET_TSS_ADDR, TSS_GPA) < 0)
		return err_sys(err, "making a VM");
	m->cpuid = xcalloc(1, sizeof(*m->cpuid) + CPUID_ENTRIES * sizeof(m->cpuid->entries[0]));
	m->cpuid->nent = CPUID_ENTRIES;
	if (ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, m->cpuid) < 0)
		return err_sys(err, "asking KVM for its CPU");
	return add_memory(m, v, err);
}

static void machine_close(struct machine *m)
{
	close_fd(&m->vm);
	close_fd(&m->kvm);
	if (m->control)
		munmap(m->control, m->control_bytes);
	free(m->cpuid);
}

static int long_mode(int fd)
{
	struct kvm_segment flat = {
		.limit = 0xffffffff,
		.selector = 0x2b,
		.type = 3,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = 1,
		.dpl = 3,
	};
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_SREGS, &s) < 0)
		return -1;
	s.ds = s.es = s.fs = s.gs = s.ss = flat;
	s.cs = flat;
	s.cs.selector = 0x33;
	s.cs.type = 11;
	s.cs.db = 0;
	s.cs.l = 1;
	s.tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
	s.cr0 = CR0_PE_ET_PG;
	s.cr3 = PML4_GPA;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME_LMA;
	return ioctl(fd, KVM_SET_SREGS, &s);
}

static int vcpu_open(struct vcpu *c, struct err *err)
{
	int bytes = ioctl(c->m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	c->fd = ioctl(c->m->vm, KVM_CREATE_VCPU, c->index);
	if (bytes < 0 || c->fd < 0)
		return err_sys(err, "making vCPU %u", c->index);
	c->run_bytes = (uint64_t)bytes;
	c->run = mmap(NULL, c->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->run == MAP_FAILED) {
		c->run = NULL;
		return err_sys(err, "mapping vCPU %u", c->index);
	}
	if (ioctl(c->fd, KVM_SET_CPUID2, c->m->cpuid) < 0 || long_mode(c->fd) < 0)
		return err_sys(err, "preparing vCPU %u", c->index);
	return 0;
}

static void vcpu_close(struct vcpu *c)
{
	if (c->run)
		munmap(c->run, c->run_bytes);
	close_fd(&c->fd);
}

/* One entry into the guest: @n pages of the vCPU's list become their sums. */
static int run_list(struct vcpu *c, uint64_t n, struct err *err)
{
	struct kvm_regs regs = {
		.rip = CODE_GPA,
		.rflags = RFLAGS_IOPL_3,
		.rdi = LISTS_GPA + c->index * LIST_BYTES,
		.rcx = n,
		.rdx = c->v->page_bytes / sizeof(uint64_t),
		.r8 = KVM_FACTOR,
	};

	if (ioctl(c->fd, KVM_SET_REGS, &regs) < 0)
		return err_sys(err, "starting vCPU %u", c->index);
	while (ioctl(c->fd, KVM_RUN, 0) < 0)
		if (errno != EINTR)
			return err_sys(err, "vCPU %u", c->index);
	if (c->run->exit_reason != KVM_EXIT_IO)
		return err_set(err, ERR_SYSTEM, "vCPU %u left the guest for reason %" PRIu32,
			       c->index, c->run->exit_reason);
	return 0;
}

/* This vCPU's share: every of-th page of the order, by lists. */
static void *vcpu_main(void *arg)
{
	struct vcpu *c = arg;
	uint64_t n = c->v->npages;
	uint64_t pages[LIST_PAGES];
	uint64_t *list = (uint64_t *)(void *)(c->m->control + LISTS_GPA + c->index * LIST_BYTES);
	uint64_t k;

	for (uint64_t i = c->index; i < n && !c->rc; i += k * c->of) {
		for (k = 0; k < LIST_PAGES && i + k * c->of < n; k++) {
			pages[k] = walk_page(c->order, i + k * c->of, n, c->v->seed);
			list[k] = KVM_MEMORY_GPA + pages[k] * c->v->page_bytes;
		}
		atomic_store(&c->seat.at, pages[0]);
		c->rc = run_list(c, k, &c->err);
		atomic_store(&c->seat.at, WALKER_IDLE);
		for (uint64_t j = 0; j < k && !c->rc; j++)
			c->sums[pages[j]] = list[j];
	}
	return NULL;
}

static int vcpu_start(struct vcpu *c, struct err *err)
{
	snprintf(c->name, sizeof(c->name), "vcpu%u", c->index);
	walker_init(&c->seat, c->v, c->name, c->index);
	if (!vcpu_open(c, err)) {
		if (!pthread_create(&c->id, NULL, vcpu_main, c))
			return 0;
		(void)err_set(err, ERR_SYSTEM, "no thread for vCPU %u", c->index);
	}
	vcpu_close(c);
	walker_fini(&c->seat);
	return -1;
}

static int run_vcpus(struct vcpu *cpus, unsigned n, const struct vcpu *model, struct err *err)
{
	unsigned started = 0;
	int rc = 0;

	while (started < n && !rc) {
		cpus[started] = *model;
		cpus[started].index = started;
		rc = vcpu_start(&cpus[started], err);
		started += !rc;
	}
	for (unsigned i = 0; i < started; i++) {
		struct vcpu *c = &cpus[i];

		pthread_join(c->id, NULL);
		if (c->rc && !rc) {
			*err = c->err;
			rc = -1;
		}
		vcpu_close(c);
		walker_fini(&c->seat);
	}
	return rc;
}

int kvm_read_all(struct vmm *v, unsigned vcpus, enum walk_order order, uint64_t *ret_sums,
		 struct err *err)
{
	struct machine m = {.kvm = -1, .vm = -1};
	struct vcpu model = {
		.m = &m, .v = v, .of = vcpus, .order = order, .sums = ret_sums, .fd = -1};
	struct vcpu cpus[KVM_VCPUS_MAX];
	int rc;

	if (vcpus < 1 || vcpus > KVM_VCPUS_MAX || v->size > KVM_SIZE_MAX)
		return err_set(err, ERR_INVALID,
			       "%u vCPUs and %" PRIu64 " bytes: 1 to %d, and at "
			       "most 256 GiB",
			       vcpus, v->size, KVM_VCPUS_MAX);
	rc = machine_open(&m, v, err);
	if (!rc)
		rc = run_vcpus(cpus, vcpus, &model, err);
	machine_close(&m);
	return rc;
}

#endif
