#include "daemon/http_limits.h"

struct http_limits http_limits_default(void)
{
	return (struct http_limits){
		.header_bytes = 8 << 10,
		.body_bytes = 1 << 20,
		.connections = 256,
		.connections_per_uid = 64,
		.held = 64,
		.held_per_uid = 16,
		.queue_bytes = 1 << 20,
		.unsent_bytes_per_uid = 16 << 20,
		.idle_ms = 60 * 1000,
		.header_deadline_ms = 10 * 1000,
		.stall_ms = 30 * 1000,
	};
}
