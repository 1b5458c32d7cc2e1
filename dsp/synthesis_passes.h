/* The passes of transforms of POINTS points at a time, 1 or 2; see synthesis_vectors.h, which
 * includes this file for each. */
#define PASTE(a, b) a##b
#define NAMED(a, b) PASTE(a, b)
#define N(name) NAMED(name, POINTS)
#define reals N(reals)
#define unaligned N(unaligned)
#define points N(points)

typedef float reals __attribute__((vector_size(8 * POINTS)));
typedef float unaligned __attribute__((vector_size(8 * POINTS), aligned(4)));
typedef struct {
    reals re, im;
} points;

INLINE reals N(real_all)(float x) { return (reals){0} + x; }
INLINE reals N(real_get)(const float *p) { return (reals) * (const unaligned *)p; }
INLINE void N(real_put)(float *p, reals x) { *(unaligned *)p = x; }
/* Work memory: the real parts of POINTS points, then their imaginary parts. */
INLINE points N(get_unit)(const float *p) {
    return (points){N(real_get)(p), N(real_get)(p + 2 * POINTS)};
}
INLINE void N(put_unit)(float *p, points z) {
    N(real_put)(p, z.re), N(real_put)(p + 2 * POINTS, z.im);
}
INLINE points N(times)(points z, reals re, reals im) {
    return (points){z.re * re - z.im * im, z.im * re + z.re * im};
}
INLINE points N(plus)(points a, points b) { return (points){a.re + b.re, a.im + b.im}; }
INLINE points N(minus)(points a, points b) { return (points){a.re - b.re, a.im - b.im}; }
/* a - i b, a + i b */
INLINE points N(minus_i)(points a, points b) { return (points){a.re + b.im, a.im - b.re}; }
INLINE points N(plus_i)(points a, points b) { return (points){a.re - b.im, a.im + b.re}; }
INLINE points N(scaled)(points z, float by) {
    return (points){z.re * N(real_all)(by), z.im * N(real_all)(by)};
}

#if POINTS == 2
/* Points as carriers and spectra have them: middle re, side re, middle im, side im. */
INLINE points N(get_points)(const float *p) {
    reals a = N(real_get)(p), b = N(real_get)(p + 4);
    return (points){__builtin_shufflevector(a, b, 0, 1, 4, 5),
                    __builtin_shufflevector(a, b, 2, 3, 6, 7)};
}
INLINE reals N(each_twice)(const float *p) { return (reals){p[0], p[0], p[1], p[1]}; }
/* Points n and n + 1 of two or four series -> r points of the first, then r of the second. */
INLINE void N(put_series)(float *y, int r, const points *z) {
    for (int half = 0; half < 2; half++)
        for (int k = 0; k < r; k += 2, y += 8) {
            points a = z[k], b = z[k + 1];
            points both = {half ? __builtin_shufflevector(a.re, b.re, 2, 3, 6, 7)
                                : __builtin_shufflevector(a.re, b.re, 0, 1, 4, 5),
                           half ? __builtin_shufflevector(a.im, b.im, 2, 3, 6, 7)
                                : __builtin_shufflevector(a.im, b.im, 0, 1, 4, 5)};
            N(put_unit)(y, both);
        }
}
INLINE void N(add_windowed)(float *spectrum, points z, const float *window) {
    reals first = __builtin_shufflevector(z.re, z.im, 0, 1, 4, 5),
          second = __builtin_shufflevector(z.re, z.im, 2, 3, 6, 7);
    N(real_put)(spectrum, N(real_get)(spectrum) + first * N(real_all)(window[0]));
    N(real_put)(spectrum + 4, N(real_get)(spectrum + 4) + second * N(real_all)(window[1]));
}
/* Samples are pairs: re, im of a point. They come exchanged, see `sides`. */
INLINE void N(put_samples)(float *left, float *right, points z, int count) {
    reals l = __builtin_shufflevector(z.im, z.re, 0, 4, 2, 6),
          r = __builtin_shufflevector(z.im, z.re, 1, 5, 3, 7);
    if (count >= 4)
        N(real_put)(left, l), N(real_put)(right, r);
    else
        for (int i = 0; i < count; i++) left[i] = l[i], right[i] = r[i];
}
#else
INLINE points N(get_points)(const float *p) { return N(get_unit)(p); }
INLINE reals N(each_twice)(const float *p) { return N(real_all)(*p); }
INLINE void N(put_series)(float *y, int r, const points *z) {
    for (int k = 0; k < r; k++) N(put_unit)(y + 4 * k, z[k]);
}
INLINE void N(add_windowed)(float *spectrum, points z, const float *window) {
    points sum = N(get_unit)(spectrum), more = N(scaled)(z, *window);
    N(put_unit)(spectrum, N(plus)(sum, more));
}
INLINE void N(put_samples)(float *left, float *right, points z, int count) {
    if (count > 0) left[0] = z.im[0], right[0] = z.im[1];
    if (count > 1) left[1] = z.re[0], right[1] = z.re[1];
}
#endif

/* The transform of r points with e^-i. */
INLINE void N(butterfly)(int r, points *z) {
    if (r == 2) {
        points sum = N(plus)(z[0], z[1]);
        z[1] = N(minus)(z[0], z[1]), z[0] = sum;
    } else if (r == 3) {
        points sum = N(plus)(z[1], z[2]), odd = N(scaled)(N(minus)(z[1], z[2]), 0.866025404f),
               even = N(minus)(z[0], N(scaled)(sum, 0.5f));
        z[0] = N(plus)(z[0], sum), z[1] = N(minus_i)(even, odd), z[2] = N(plus_i)(even, odd);
    } else if (r == 4) {
        points s0 = N(plus)(z[0], z[2]), d0 = N(minus)(z[0], z[2]), s1 = N(plus)(z[1], z[3]),
               d1 = N(minus)(z[1], z[3]);
        z[0] = N(plus)(s0, s1), z[2] = N(minus)(s0, s1);
        z[1] = N(minus_i)(d0, d1), z[3] = N(plus_i)(d0, d1);
    } else if (r == 5) {
        points s1 = N(plus)(z[1], z[4]), s2 = N(plus)(z[2], z[3]), d1 = N(minus)(z[1], z[4]),
               d2 = N(minus)(z[2], z[3]);
        points even1 = N(plus)(z[0], N(minus)(N(scaled)(s1, 0.309016994f),
                                              N(scaled)(s2, 0.809016994f))),
               even2 = N(plus)(z[0], N(minus)(N(scaled)(s2, 0.309016994f),
                                              N(scaled)(s1, 0.809016994f)));
        points odd1 = N(plus)(N(scaled)(d1, 0.951056516f), N(scaled)(d2, 0.587785252f)),
               odd2 = N(minus)(N(scaled)(d1, 0.587785252f), N(scaled)(d2, 0.951056516f));
        z[0] = N(plus)(z[0], N(plus)(s1, s2));
        z[1] = N(minus_i)(even1, odd1), z[4] = N(plus_i)(even1, odd1);
        z[2] = N(minus_i)(even2, odd2), z[3] = N(plus_i)(even2, odd2);
    }
}

/* The first pass, of radix r: x[p + m k] (times gain) -> y[r p + k]. `legs`: how many are not
 * silent, of m points each. */
INLINE void N(first_of)(int r, int m, const float *x, const float *gain, int legs, float *y) {
    nv_turn turn = turn_of(-2 * M_PI / ((double)r * m), m);
    nv_roots w;
    for (int from = 0, end; from < m; from = end) {
        end = next_roots(&turn, r, from, m, &w);
        for (int p = from; p < end; p += POINTS) {
            if (p + POINTS > m) p = m - POINTS; /* a point is done twice */
            points z[MAX_RADIX];
#pragma GCC unroll 5
            for (int k = 0; k < r; k++) {
                size_t at = (size_t)p + (size_t)m * (size_t)k;
                z[k] = (points){{0}, {0}};
                if (k >= legs) continue;
                z[k] = N(get_points)(x + 4 * at);
                if (gain) {
                    reals g = N(each_twice)(gain + at);
                    z[k] = (points){z[k].re * g, z[k].im * g};
                }
            }
            N(butterfly)(r, z);
#pragma GCC unroll 5
            for (int k = 1; k < r; k++)
                z[k] = N(times)(z[k], N(each_twice)(w.re[k] + p - from),
                                N(each_twice)(w.im[k] + p - from));
            N(put_series)(y + 4 * (size_t)r * (size_t)p, r, z);
        }
    }
}

/* A further pass: m legs of s points. x[q + s (p + m k)] -> y[q + s (r p + k)]. */
INLINE void N(pass_of)(int r, int m, int s, const float *x, float *y) {
    nv_turn turn = turn_of(-2 * M_PI / ((double)r * m), m);
    nv_roots w;
    size_t leg = 4 * (size_t)s, far = leg * (size_t)m;
    for (int from = 0, end; from < m; from = end) {
        end = next_roots(&turn, r, from, m, &w);
        for (int p = from; p < end; p++, x += leg, y += leg * (size_t)r) {
            reals re[MAX_RADIX], im[MAX_RADIX];
#pragma GCC unroll 5
            for (int k = 1; k < r; k++)
                re[k] = N(real_all)(w.re[k][p - from]), im[k] = N(real_all)(w.im[k][p - from]);
            for (size_t q = 0; q < leg; q += 4 * POINTS) {
                points z[MAX_RADIX];
#pragma GCC unroll 5
                for (int k = 0; k < r; k++) z[k] = N(get_unit)(x + q + far * (size_t)k);
                N(butterfly)(r, z);
                N(put_unit)(y + q, z[0]);
#pragma GCC unroll 5
                for (int k = 1; k < r; k++)
                    N(put_unit)(y + q + leg * (size_t)k, N(times)(z[k], re[k], im[k]));
            }
        }
    }
}

/* The last pass, whose roots are 1, to where the points go. r may be 1. */
INLINE void N(last_of)(int r, int s, const float *x, const nv_points_to *to, int is_band) {
    for (int q = 0; q < s; q += POINTS) {
        points z[MAX_RADIX];
#pragma GCC unroll 5
        for (int k = 0; k < r; k++)
            z[k] = N(get_unit)(x + 4 * ((size_t)q + (size_t)s * (size_t)k));
        N(butterfly)(r, z);
#pragma GCC unroll 5
        for (int k = 0; k < r; k++) {
            size_t at = (size_t)q + (size_t)s * (size_t)k;
            if (is_band)
                N(add_windowed)(to->spectrum + 4 * at, z[k], to->window + at);
            else if (2 * (int)at < to->taps)
                N(put_samples)(to->left + 2 * at, to->right + 2 * at, z[k],
                               to->taps - 2 * (int)at);
        }
    }
}

/* A function for each radix and kind of pass. */
#define FIRST(R)                                                                                   \
    static void NAMED(N(first), R)(int m, const float *x, const float *gain, int used, float *y) { \
        if (!gain)                                                                                 \
            N(first_of)(R, m, x, NULL, R, y);                                                      \
        else if (used <= m)                                                                        \
            N(first_of)(R, m, x, gain, 1, y);                                                      \
        else if (used <= 2 * m)                                                                    \
            N(first_of)(R, m, x, gain, 2, y);                                                      \
        else                                                                                       \
            N(first_of)(R, m, x, gain, R, y);                                                      \
    }
#define FURTHER(R)                                                                                 \
    static void NAMED(N(further), R)(int m, int s, const float *x, float *y) {                     \
        N(pass_of)(R, m, s, x, y);                                                                 \
    }
#define LAST(R)                                                                                    \
    static void NAMED(N(last), R)(int s, const float *x, const nv_points_to *to) {                 \
        if (to->window)                                                                            \
            N(last_of)(R, s, x, to, 1);                                                            \
        else                                                                                       \
            N(last_of)(R, s, x, to, 0);                                                            \
    }
FIRST(2)
FIRST(4)
#if POINTS == 1 /* two at a time for even numbers only: all further passes have even numbers then */
FIRST(3)
FIRST(5)
#endif
FURTHER(2)
FURTHER(3)
FURTHER(4)
FURTHER(5)
LAST(1)
LAST(2)
LAST(3)
LAST(4)
LAST(5)

static void N(transform)(int n, const float *x, const float *gain, int used, float *const *work,
                         const nv_points_to *to) {
    int r = radix_of(n), m = n / r, s = r;
    float *a = work[0], *b = work[1];
#if POINTS == 1
    (r == 2 ? first12 : r == 3 ? first13 : r == 4 ? first14 : first15)(m, x, gain, used, a);
#else
    (r == 2 ? first22 : first24)(m, x, gain, used, a);
#endif
    while (m > 1 && m > (r = radix_of(m))) {
        m /= r;
        (r == 2   ? NAMED(N(further), 2)
         : r == 3 ? NAMED(N(further), 3)
         : r == 4 ? NAMED(N(further), 4)
                  : NAMED(N(further), 5))(m, s, a, b);
        s *= r;
        float *other = a;
        a = b, b = other;
    }
    (m == 1   ? NAMED(N(last), 1)
     : m == 2 ? NAMED(N(last), 2)
     : m == 3 ? NAMED(N(last), 3)
     : m == 4 ? NAMED(N(last), 4)
              : NAMED(N(last), 5))(s, a, to);
}

#undef FIRST
#undef FURTHER
#undef LAST
#undef PASTE
#undef NAMED
#undef N
#undef reals
#undef unaligned
#undef points
#undef POINTS
