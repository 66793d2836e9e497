/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of an image copied dense, with their padding, a few channels after the other. Who reads a
 * few channels of wide pixels over and over reads them from here: they no longer drive each other
 * out of the nearest cache, and no tap asks where the image ends.
 */
struct lines {
    const float *image; /* (H, W, pixel), at the first of the channels */
    int64_t H, W, pixel;
    int64_t h, w; /* of the first pixel, which may lie in the padding */
    int64_t lines, columns, channels;
};

/* n <= each channels of a pixel; whole vectors, or n = each. */
FC_INLINE void lines_pixel(float *to, const float *from, int64_t n, const int64_t each)
{
    for (int64_t c = 0; c < each; c += FC_LANES)
        store_lanes(to + c, load_lanes(from + c, min_i64(FC_LANES, n - c)),
                    min_i64(FC_LANES, each - c));
}

/* to[channels / each][lines][columns][each], zeros where there is no image. Channels are whole
 * numbers of `each`, or of vectors if that is one: then zeros fill the last. */
FC_INLINE void lines_copy(const struct lines *l, const int64_t each, float *to)
{
    const int64_t plane = l->lines * l->columns * each;
    const size_t pixel = (size_t)each * sizeof(float);
    int64_t left = min_i64(max_i64(-l->w, 0), l->columns);
    int64_t right = max_i64(left, min_i64(l->W - l->w, l->columns));
    for (int64_t i = 0; i < l->lines; i++, to += l->columns * each) {
        int there = (uint64_t)(l->h + i) < (uint64_t)l->H;
        int64_t begin = there ? left : l->columns, end = there ? right : l->columns;
        const float *line = l->image + ((l->h + i) * l->W + l->w) * l->pixel;
        float *plane_to = to;
        for (int64_t c = 0; c < l->channels; c += each, plane_to += plane) {
            memset(plane_to, 0, (size_t)begin * pixel);
            memset(plane_to + end * each, 0, (size_t)(l->columns - end) * pixel);
        }
        for (int64_t w = begin; w < end; w++) {
            const float *from = line + w * l->pixel;
            plane_to = to + w * each;
            expect_floats(from + PIXELS_AHEAD * l->pixel, l->channels);
            for (int64_t c = 0; c < l->channels; c += each, plane_to += plane)
                lines_pixel(plane_to, from + c, min_i64(each, l->channels - c), each);
        }
    }
}
