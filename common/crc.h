/*
 * crc - CRC-32, as of Ethernet and zip
 *
 * Detects damage, not forgery. Pure.
 */
#ifndef UFFDD_CRC_H
#define UFFDD_CRC_H

#include "common/base.h"

/* Continues checksum @crc (0 at the beginning) with @len bytes. Returns the new checksum. */
uint32_t crc_add(uint32_t crc, const void *bytes, size_t len);

#endif
