/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run an exported plan on one file of raw numbers, and print what comes out.
 *
 *     python -c 'import fastcnn; fastcnn.applications.ResNet18().export("net.plan", "plan")'
 *     python setup.py build_clib --build-clib build/c
 *     cc -Isrc_c examples/run_plan.c -Lbuild/c -lfastcnn_runtime -lfastcnn_scalar -lfastcnn_avx2 \
 *         -lfastcnn_avx512 -lm -pthread -o run_plan
 *     ./run_plan net.plan image.f32
 */
#include "fastcnn.h"

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "%s %s\n", what, why);
    return 1;
}

static int read_into(const char *path, void *memory, size_t nbytes)
{
    FILE *file = fopen(path, "rb");
    size_t found = file ? fread(memory, 1, nbytes, file) : 0;
    if (file)
        fclose(file);
    return found == nbytes;
}

static void print(const fcnn_port *port, const void *memory)
{
    const float *values = memory;
    printf("%s:\n", port->name);
    for (int64_t i = 0; i < port->nbytes / 4; i++)
        printf("%lld %.9g\n", (long long)i, values[i]);
}

int main(int argc, char **argv)
{
    char reason[FCNN_REASON];
    if (argc != 3)
        return fail(argv[0], "PLAN FILE: runs a plan on the numbers of its input");
    fcnn_network *net = fcnn_open(argv[1], NULL, 2, reason);
    if (!net)
        return fail(argv[1], reason);
    const fcnn_port *in = fcnn_input(net, 0), *out = fcnn_output(net, 0);
    if (fcnn_inputs(net) != 1 || fcnn_outputs(net) != 1 || out->dtype != FCNN_F32)
        return fail(argv[1], "has several inputs or outputs, or another output than floats");
    void *image = malloc((size_t)in->nbytes), *scores = malloc((size_t)out->nbytes);
    if (!image || !scores)
        return fail(argv[1], "needs more memory than there is");
    if (!read_into(argv[2], image, (size_t)in->nbytes))
        return fail(argv[2], "holds too few numbers for the input");
    const void *inputs[] = {image};
    void *outputs[] = {scores};
    fcnn_run(net, inputs, outputs, 2);
    print(out, scores);
    free(image);
    free(scores);
    fcnn_close(net);
    return 0;
}
