/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of arenas and scratch: on a boundary of cache lines, in big pages where it is large. */
#define _GNU_SOURCE
#include "kernel.h"

#include <stdlib.h>
#include <sys/mman.h>

#define BIG_PAGE ((size_t)2 << 20)

void *fc_allocate(size_t nbytes)
{
    int big = nbytes >= 2 * BIG_PAGE;
    size_t alignment = big ? BIG_PAGE : FC_ALIGN;
    void *found = aligned_alloc(alignment, (nbytes / alignment + 1) * alignment);
#ifdef MADV_HUGEPAGE
    /* A wish: where the system has none to give, small pages do. */
    if (found && big)
        (void)madvise(found, nbytes, MADV_HUGEPAGE);
#endif
    return found;
}
