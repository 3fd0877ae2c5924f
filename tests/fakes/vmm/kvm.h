/*
 * kvm - a tiny real guest that reads the memory of a struct vmm through vCPUs
 *
 * Long mode, user privilege, identity page tables, no interrupts: some forty bytes
 * of code walk a list of pages and leave a checksum of each. Guest memory appears
 * at its snapshot offset plus KVM_MEMORY_GPA; code, page tables and the lists live
 * in a slot of their own below, which no userfaultfd knows.
 *
 *      0 ........ control ........        KVM_MEMORY_GPA ...........
 *      code, tables, a list per vCPU      the snapshot's memory, one slot per region
 */
#ifndef UFFDD_TESTS_KVM_H
#define UFFDD_TESTS_KVM_H

#include "tests/fakes/vmm/walk.h"

#define KVM_MEMORY_GPA ((uint64_t)4 << 30)
#define KVM_VCPUS_MAX 16
#define KVM_SIZE_MAX ((uint64_t)256 << 30)

/* Can a guest run here? If not, @why says what is missing. */
bool kvm_available(struct err *why);

/*
 * kvm_read_all - every page once, through @vcpus vCPUs side by side, in @order
 * @ret_sums: room for npages; kvm_sum() of what the vCPU read, by page
 *
 * While it runs, vmm_print_busy() shows the first page of each vCPU's list.
 * Memory must lie as announced: no pages_unmap() or pages_remap() before.
 * An error names what ended the guest (a poisoned page: "Bad address").
 */
int kvm_read_all(struct vmm *v, unsigned vcpus, enum walk_order order, uint64_t *ret_sums,
		 struct err *err);
/* The same checksum over @len bytes here; @len is a multiple of 8. */
uint64_t kvm_sum(const uint8_t *bytes, uint64_t len);

#endif
