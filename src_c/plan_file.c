/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping the file of a plan. Everything is checked that could lead a pointer astray; that shapes fit
 * each other is Python's work, and the checksum's to keep.
 */
#include "plan_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT 1

const char *fcnn_build(void) { return FC_BUILD; }

int fc_refuse(const fc_plan_file *f, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(f->reason, FCNN_REASON, format, values);
    va_end(values);
    return 0;
}

static int damaged(const fc_plan_file *f, const char *what)
{
    return fc_refuse(f, "is damaged: %s" FC_AGAIN, what);
}

static int map_file(fc_plan_file *f, const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (file < 0 || fstat(file, &found) != 0) {
        fc_refuse(f, "cannot be opened (%s); check the path", strerror(errno));
        if (file >= 0)
            close(file);
        return 0;
    }
    f->nbytes = (int64_t)found.st_size;
    if (f->nbytes < (int64_t)sizeof(fc_plan_header) || !S_ISREG(found.st_mode)) {
        close(file);
        return fc_refuse(f, "is not a plan of fastcnn; export a model with format=\"plan\"");
    }
    void *bytes = mmap(NULL, (size_t)f->nbytes, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (bytes == MAP_FAILED)
        return fc_refuse(f, "cannot be mapped (%s); check the free memory", strerror(errno));
    f->bytes = bytes;
    return 1;
}

/* Of ISO 3309, as zlib's. */
static uint32_t crc32_of(uint32_t crc, const char *bytes, int64_t count)
{
    uint32_t table[16];
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 4; bit++)
            c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    for (int64_t i = 0; i < count; i++) {
        crc ^= (uint8_t)bytes[i];
        crc = table[crc & 15] ^ crc >> 4;
        crc = table[crc & 15] ^ crc >> 4;
    }
    return crc;
}

static uint32_t checksum_of(const fc_plan_file *f)
{
    fc_plan_header head = *f->head;
    head.checksum = 0;
    uint32_t crc = crc32_of(~0u, (const char *)&head, sizeof head);
    return ~crc32_of(crc, f->bytes + sizeof head, head.weights_at - (int64_t)sizeof head);
}

static int check_header(fc_plan_file *f)
{
    const fc_plan_header *h = f->head = (const fc_plan_header *)f->bytes;
    if (memcmp(h->magic, "FCNNPLAN", sizeof h->magic) != 0)
        return fc_refuse(f, "is not a plan of fastcnn; export a model with format=\"plan\"");
    if (h->format != FORMAT || memcmp(h->build, FC_BUILD, FC_BUILD_CHARS) != 0)
        return fc_refuse(
            f, "was exported by another version of fastcnn (kernels %.*s, here %s)" FC_AGAIN,
            FC_BUILD_CHARS, h->build, FC_BUILD);
    if (h->weights_at < (int64_t)sizeof *h || h->weights_at % FC_ALIGN || h->weights_bytes < 0 ||
        h->weights_at > f->nbytes || h->weights_bytes != f->nbytes - h->weights_at)
        return fc_refuse(f, "has %lld bytes, expected %lld: it was cut off" FC_AGAIN,
                         (long long)f->nbytes,
                         (long long)((uint64_t)h->weights_at + (uint64_t)h->weights_bytes));
    if (checksum_of(f) != h->checksum)
        return damaged(f, "its checksum is another");
    return 1;
}

/* `count` items of `size` bytes from *at on, which moves behind them; NULL: they do not fit. */
static const void *section(const fc_plan_file *f, int64_t *at, int32_t count, size_t size)
{
    int64_t begin = *at;
    if (count < 0 || (f->head->weights_at - begin) / (int64_t)size < count)
        return NULL;
    *at += (int64_t)size * count;
    return f->bytes + begin;
}

static int find_sections(fc_plan_file *f)
{
    const fc_plan_header *h = f->head;
    int64_t at = sizeof *h;
    int32_t ports =
        h->inputs < 0 || h->outputs < 0 || h->inputs > INT16_MAX || h->outputs > INT16_MAX
            ? -1
            : h->inputs + h->outputs;
    f->calls = section(f, &at, h->calls, sizeof *f->calls);
    f->candidates = f->calls ? section(f, &at, h->candidates, sizeof *f->candidates) : NULL;
    f->tensors = f->candidates ? section(f, &at, h->tensors, sizeof *f->tensors) : NULL;
    f->ports = f->tensors ? section(f, &at, ports, sizeof *f->ports) : NULL;
    f->attributes = f->ports ? section(f, &at, h->attribute_bytes, 1) : NULL;
    f->text = f->attributes ? section(f, &at, h->text_bytes, 1) : NULL;
    if (!f->text || h->arena_bytes < 0 || h->attribute_bytes % 8 || h->text_bytes < 1 ||
        f->text[h->text_bytes - 1] != 0)
        return damaged(f, "its sections do not fit");
    return 1;
}

static int is_text(const fc_plan_file *f, int32_t at)
{
    return at >= 0 && at < f->head->text_bytes;
}

static int64_t size_of(int32_t dtype)
{
    static const int64_t sizes[] = {4, 8, 1, 4, 4, 8};
    return sizes[dtype];
}

int64_t fc_extent(const fc_tensor_record *t)
{
    if (t->dtype < FCNN_F32 || t->dtype > FCNN_I64 || t->rank < 0 || t->rank > FCNN_MAX_RANK)
        return -1;
    int64_t pixels = 1, last = t->rank ? t->dim[t->rank - 1] : 1, nbytes;
    int64_t ld = t->rank ? t->ld : 1;
    for (int d = 0; d < t->rank; d++)
        if (t->dim[d] < 0 || t->dim[d] > INT32_MAX ||
            (d + 1 < t->rank && __builtin_mul_overflow(pixels, t->dim[d], &pixels)))
            return -1;
    if (pixels == 0 || last == 0)
        return 0; /* holds nothing */
    if (ld < last || __builtin_mul_overflow(pixels - 1, ld, &nbytes) ||
        __builtin_add_overflow(nbytes, last, &nbytes) ||
        __builtin_mul_overflow(nbytes, size_of(t->dtype), &nbytes))
        return -1;
    return nbytes;
}

static int64_t bytes_of_buffer(const fc_plan_file *f, int32_t buffer)
{
    const fc_plan_header *h = f->head;
    if (buffer == FC_ARENA)
        return h->arena_bytes;
    if (buffer == FC_WEIGHTS)
        return h->weights_bytes;
    return buffer < 0 || buffer - FC_PORTS >= h->inputs + h->outputs
               ? -1
               : fc_extent(&f->ports[buffer - FC_PORTS]);
}

static int check_tensors(const fc_plan_file *f)
{
    const fc_plan_header *h = f->head;
    for (int i = 0; i < h->inputs + h->outputs; i++)
        if (fc_extent(&f->ports[i]) < 0 || !is_text(f, f->ports[i].name))
            return damaged(f, "an input or output cannot be");
    for (int i = 0; i < h->tensors; i++) {
        const fc_tensor_record *t = &f->tensors[i];
        int64_t nbytes = fc_extent(t), room = bytes_of_buffer(f, t->buffer);
        if (nbytes < 0 || room < 0 || t->offset < 0 || t->offset % size_of(t->dtype) ||
            t->offset > room || nbytes > room - t->offset)
            return damaged(f, "a tensor lies outside its memory");
    }
    return 1;
}

/* Bytes of a kernel's attributes, of which kernels.def declares "int64_t a, b; double c;". */
int64_t fc_attribute_bytes(const fc_kernel *kernel)
{
    int64_t count = 0;
    for (const char *c = kernel->attrs; *c; c++)
        count += *c == ',' || *c == ';';
    return 8 * count;
}

static int check_calls(const fc_plan_file *f)
{
    const fc_plan_header *h = f->head;
    for (int i = 0; i < h->calls; i++) {
        const fc_call_record *c = &f->calls[i];
        if (c->candidate < 0 || c->candidates < 1 || c->candidate > h->candidates - c->candidates ||
            c->tensor < 0 || c->n_in < 0 || c->n_out < 0 || c->n_in > h->tensors - c->tensor ||
            c->n_out > h->tensors - c->tensor - c->n_in)
            return damaged(f, "a call has tensors or kernels that are not there");
    }
    for (int i = 0; i < h->candidates; i++)
        if (!is_text(f, f->candidates[i].name) || f->candidates[i].attributes < 0 ||
            f->candidates[i].attributes % 8)
            return damaged(f, "a kernel's name or numbers are not there");
    return 1;
}

int fc_open_plan(fc_plan_file *f, const char *path)
{
    return map_file(f, path) && check_header(f) && find_sections(f) && check_tensors(f) &&
           check_calls(f);
}

void fc_close_plan(fc_plan_file *f)
{
    if (f->bytes)
        munmap((void *)f->bytes, (size_t)f->nbytes);
}
