#ifndef CORE_CONTAINER_H
#define CORE_CONTAINER_H
/*
 * From a pointer to an embedded member back to the struct that owns it.
 */
#include <stddef.h>

#define slot_container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

#endif
