/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan in a file, opened and run without Python. Nothing is computed while it is opened: weights
 * are used where the file is mapped, and kernels are chosen as Python chooses them.
 */
#include "plan_file.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A tensor in the memory of an input or output, which moves from run to run. */
typedef struct {
    fc_tensor *tensor;
    int32_t port;
    int64_t offset;
} moving;

struct fcnn_network {
    pthread_mutex_t turn;
    fc_plan_file file;
    const fc_table *table;
    int threads, n_moving;
    fc_call *calls;
    fc_tensor *tensors;
    moving *moving;
    fcnn_port *ports;
    char *arena, *scratch;
};

static const fc_table *find_table(const fc_plan_file *f, const char *isa)
{
    const fc_table *best = NULL;
    for (int i = 0; i < fc_isa_count(); i++)
        if (fc_isa_runs_here(i) && (!isa || strcmp(fc_isa_table(i)->isa, isa) == 0))
            best = fc_isa_table(i);
    if (!best)
        fc_refuse(f, "cannot run: this processor or this build lacks the instruction set '%s'",
                  isa);
    return best;
}

static const fc_kernel *find_kernel(const fc_table *table, const char *name)
{
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->kernels[i].name, name) == 0)
            return &table->kernels[i];
    return NULL;
}

/* The first candidate whose plan half agrees; its scratch, or -1. */
static int64_t choose(const fcnn_network *net, const fc_call_record *record, fc_call *call)
{
    const fc_plan_file *f = &net->file;
    for (int i = record->candidate; i < record->candidate + record->candidates; i++) {
        const fc_candidate_record *c = &f->candidates[i];
        const fc_kernel *kernel = find_kernel(net->table, f->text + c->name);
        if (!kernel || c->attributes > f->head->attribute_bytes - fc_attribute_bytes(kernel))
            continue;
        call->attrs = f->attributes + c->attributes;
        call->run = kernel->run;
        int64_t scratch = kernel->plan(call, net->threads);
        if (scratch >= 0)
            return scratch;
    }
    return -1;
}

static void *base_of(const fcnn_network *net, int32_t buffer)
{
    if (buffer == FC_ARENA)
        return net->arena;
    return buffer == FC_WEIGHTS ? (void *)(net->file.bytes + net->file.head->weights_at) : NULL;
}

static void place_tensors(fcnn_network *net)
{
    for (int i = 0; i < net->file.head->tensors; i++) {
        const fc_tensor_record *t = &net->file.tensors[i];
        fc_tensor *to = &net->tensors[i];
        char *base = base_of(net, t->buffer);
        *to = (fc_tensor){.ld = t->ld, .rank = t->rank, .dtype = t->dtype};
        memcpy(to->dim, t->dim, sizeof to->dim);
        if (base)
            to->data = base + t->offset;
        else
            net->moving[net->n_moving++] = (moving){to, t->buffer - FC_PORTS, t->offset};
    }
}

static int place_calls(fcnn_network *net)
{
    const fc_plan_file *f = &net->file;
    int64_t scratch = 0;
    for (int i = 0; i < f->head->calls; i++) {
        const fc_call_record *record = &f->calls[i];
        fc_call *call = &net->calls[i];
        call->in = &net->tensors[record->tensor];
        call->out = call->in + record->n_in;
        call->n_in = record->n_in;
        call->n_out = record->n_out;
        call->threads = record->threads;
        int64_t wanted = choose(net, record, call);
        if (wanted < 0)
            return fc_refuse(f, "has a call of '%s' that no kernel here takes" FC_AGAIN,
                             f->text + f->candidates[record->candidate].name);
        scratch = wanted > scratch ? wanted : scratch;
    }
    net->scratch = fc_allocate((size_t)scratch);
    for (int i = 0; i < f->head->calls; i++)
        net->calls[i].scratch = net->scratch;
    return net->scratch
               ? 1
               : fc_refuse(f, "needs %lld bytes of memory more than there are", (long long)scratch);
}

static void place_ports(fcnn_network *net)
{
    const fc_plan_file *f = &net->file;
    for (int i = 0; i < f->head->inputs + f->head->outputs; i++) {
        const fc_tensor_record *t = &f->ports[i];
        net->ports[i] = (fcnn_port){f->text + t->name, t->dtype, t->rank, {0}, fc_extent(t)};
        memcpy(net->ports[i].dim, t->dim, sizeof t->dim);
    }
}

static int allocate(fcnn_network *net)
{
    const fc_plan_header *h = net->file.head;
    size_t tensors = (size_t)h->tensors + 1, ports = (size_t)(h->inputs + h->outputs) + 1;
    net->calls = calloc((size_t)h->calls + 1, sizeof *net->calls);
    net->tensors = calloc(tensors, sizeof *net->tensors);
    net->moving = calloc(tensors, sizeof *net->moving);
    net->ports = calloc(ports, sizeof *net->ports);
    net->arena = fc_allocate((size_t)h->arena_bytes);
    if (net->calls && net->tensors && net->moving && net->ports && net->arena)
        return 1;
    return fc_refuse(&net->file, "needs %lld bytes of memory more than there are",
                     (long long)h->arena_bytes);
}

fcnn_network *fcnn_open(const char *path, const char *isa, int threads, char reason[FCNN_REASON])
{
    fc_plan_file file = {.reason = reason};
    fcnn_network *net = calloc(1, sizeof *net);
    if (!net) {
        fc_refuse(&file, "cannot be opened: there is no memory left");
        return NULL;
    }
    pthread_mutex_init(&net->turn, NULL);
    net->file = file;
    net->threads = threads > 1 ? threads : 1;
    if (fc_open_plan(&net->file, path) && (net->table = find_table(&net->file, isa)) &&
        allocate(net)) {
        place_ports(net);
        place_tensors(net);
        if (place_calls(net))
            return net;
    }
    fcnn_close(net);
    return NULL;
}

void fcnn_close(fcnn_network *net)
{
    if (!net)
        return;
    fc_close_plan(&net->file);
    free(net->calls);
    free(net->tensors);
    free(net->moving);
    free(net->ports);
    free(net->arena);
    free(net->scratch);
    pthread_mutex_destroy(&net->turn);
    free(net);
}

int fcnn_inputs(const fcnn_network *net) { return net->file.head->inputs; }
int fcnn_outputs(const fcnn_network *net) { return net->file.head->outputs; }
const fcnn_port *fcnn_input(const fcnn_network *net, int i) { return &net->ports[i]; }
const char *fcnn_isa(const fcnn_network *net) { return net->table->isa; }

const fcnn_port *fcnn_output(const fcnn_network *net, int i)
{
    return &net->ports[fcnn_inputs(net) + i];
}

fcnn_status fcnn_run(fcnn_network *net, const void *const *inputs, void *const *outputs,
                     int threads)
{
    int n_in = fcnn_inputs(net), failed;
    threads = threads < net->threads ? threads : net->threads;
    pthread_mutex_lock(&net->turn);
    for (int i = 0; i < net->n_moving; i++) {
        const moving *m = &net->moving[i];
        const char *base = m->port < n_in ? inputs[m->port] : outputs[m->port - n_in];
        m->tensor->data = (char *)base + m->offset;
    }
    fcnn_status status =
        fc_run(net->calls, net->file.head->calls, threads > 1 ? threads : 1, &failed);
    pthread_mutex_unlock(&net->turn);
    return status;
}
