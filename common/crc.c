#include "common/crc.h"

#include <endian.h>
#include <string.h>

/*
 * after[k][byte]: the effect of a byte on a checksum that is carried k bytes further, so that four
 * bytes are taken at a time. The effect of a byte is the XOR of the effects of its bits; the eight
 * numbers of a row are those of bits 0 to 7.
 */
/* clang-format off */
#define AFTER_0(byte) BYTE(byte, 0x77073096, 0xee0e612c, 0x076dc419, 0x0edb8832, \
			    0x1db71064, 0x3b6e20c8, 0x76dc4190, 0xedb88320)
#define AFTER_1(byte) BYTE(byte, 0x191b3141, 0x32366282, 0x646cc504, 0xc8d98a08, \
			    0x4ac21251, 0x958424a2, 0xf0794f05, 0x3b83984b)
#define AFTER_2(byte) BYTE(byte, 0x01c26a37, 0x0384d46e, 0x0709a8dc, 0x0e1351b8, \
			    0x1c26a370, 0x384d46e0, 0x709a8dc0, 0xe1351b80)
#define AFTER_3(byte) BYTE(byte, 0xb8bc6765, 0xaa09c88b, 0x8f629757, 0xc5b428ef, \
			    0x5019579f, 0xa032af3e, 0x9b14583d, 0xed59b63b)

#define BIT(byte, n, crc) ((byte) >> (n) & 1 ? crc##u : 0)
#define BYTE(byte, a, b, c, d, e, f, g, h)                                       \
	(BIT(byte, 0, a) ^ BIT(byte, 1, b) ^ BIT(byte, 2, c) ^ BIT(byte, 3, d) ^ \
	 BIT(byte, 4, e) ^ BIT(byte, 5, f) ^ BIT(byte, 6, g) ^ BIT(byte, 7, h))
#define FOUR(row, i) row(i), row((i) + 1), row((i) + 2), row((i) + 3)
#define SIXTEEN(row, i) FOUR(row, i), FOUR(row, (i) + 4), FOUR(row, (i) + 8), FOUR(row, (i) + 12)
#define HALF_ROW(row, i)                                                            \
	SIXTEEN(row, i), SIXTEEN(row, (i) + 16), SIXTEEN(row, (i) + 32),            \
		SIXTEEN(row, (i) + 48), SIXTEEN(row, (i) + 64), SIXTEEN(row, (i) + 80), \
		SIXTEEN(row, (i) + 96), SIXTEEN(row, (i) + 112)
#define ROW(row) HALF_ROW(row, 0), HALF_ROW(row, 128)

static const uint32_t after[4][256] = {
	{ROW(AFTER_0)}, {ROW(AFTER_1)}, {ROW(AFTER_2)}, {ROW(AFTER_3)},
};
/* clang-format on */

uint32_t crc_add(uint32_t crc, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	crc = ~crc;
	for (; len >= 4; p += 4, len -= 4) {
		uint32_t word;

		memcpy(&word, p, 4);
		crc ^= le32toh(word);
		crc = after[3][crc & 0xff] ^ after[2][crc >> 8 & 0xff] ^
		      after[1][crc >> 16 & 0xff] ^ after[0][crc >> 24];
	}
	for (; len; p++, len--)
		crc = crc >> 8 ^ after[0][(crc ^ *p) & 0xff];
	return ~crc;
}
