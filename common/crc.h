/*
 * crc - CRC-32, as of Ethernet and zip
 *
 * Tells damage, not intent. Pure.
 */
#ifndef UFFDD_CRC_H
#define UFFDD_CRC_H

#include "common/base.h"

/* Of the bytes that @crc is of (0: none) and these. */
uint32_t crc_add(uint32_t crc, const void *bytes, size_t len);

#endif
