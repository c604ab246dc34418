/* The Winograd convolution F(4x4, 3x3) (Lavin and Gray, CVPR 2016) of channels_last images in float32 or bfloat16.

   y = S [(Q g Q^T) . (P d P^T)] S^T for a tile y of 4x4 outputs, which reads 6x6 inputs d, with a 3x3 kernel g:

     1. Q g Q^T for each pair of channels      (transform_weight)
     2. P d P^T for each tile and channel      (transform_input)
     3. the 36 products, each a matrix product over the channels: (tiles, c_in) (c_in, c_out)     (product)
     4. S m S^T for each tile and channel      (write_output)

   A thread takes one block of tiles through steps 2 to 4, so that the data between the steps stays in its own cache: the 36
   planes of one block are read again right after they were written, and never travel to memory. The gradient with respect to
   the weight is the transpose of step 1 to 4 in g: Q^T [sum over tiles of (P x P^T) . (S^T dy S)] Q.

   All arithmetic is float32; bfloat16 says only how images and weights are stored. Channels are multiples of LANES. "Planes"
   are 36 matrices behind each other, one for each of the 6x6 places of a transformed tile. Compile with OpenMP. */

#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

/* A panel of a matrix product: ROWS x VECTORS sums, one row of the right factor and one number of the left fill the vector
   registers (32 of them with AVX-512 and on ARM, else 16), so that no sum is spilled to memory in the innermost loop. */
#define ROWS 6
#if defined(__AVX512F__) || defined(__aarch64__)
#define VECTORS 4
#else
#define VECTORS 2
#endif
#define WIDTH (VECTORS * LANES)
#define DEPTH 128 /* rows of a panel that stay in the L1 cache; also the terms of one partial sum, which keeps rounding low */
#define GROUP 16  /* tiles, rows or channels that a thread takes at a time; channels are multiples of it */
#define GAP 16    /* floats between planes: without it, 36 planes of 2^k floats fall into the same sets of a cache */

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

#define TEMPLATE static inline __attribute__((always_inline))


typedef struct {
  int64_t images, height, width, c_in, c_out;
  int64_t block; /* tiles */
  int64_t threads;
  int64_t bytes; /* of one number of an image or a weight: 4 in float32, 2 in bfloat16; all else is float32 */
} convolution;

/* A weight with any strides, in numbers: its entry (o, i, p, q) is at[o * out + i * in + p * row + q * column]. The gradient with
   respect to the input is a convolution with the weight turned around, which is another start and other strides of the same
   memory: no copy. */
typedef struct {
  int64_t out, in, row, column;
} strides;

int omp_get_thread_num(void);

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- numbers in memory ---- */

TEMPLATE vector load(const float *from) { return *(const vector *)from; }

TEMPLATE void store(float *to, vector v) { *(vector *)to = v; }

/* `bytes` is a constant wherever this is inlined, so that no branch is left. */
TEMPLATE vector load_number(const char *from, int bytes) {
  if (bytes == 4) return load((const float *)from);
  return (vector)(__builtin_convertvector(*(const halves *)from, bits) << 16);
}

/* bfloat16 is the upper half of a float32: add half a unit of the last place, and 1 more below an odd one, then cut. That is
   round to nearest, ties to even. A NaN could overflow into infinity or zero that way, so it is set apart. */
TEMPLATE void store_number(char *to, vector v, int bytes) {
  if (bytes == 4) {
    store((float *)to, v);
    return;
  }
  bits b = (bits)v, nan = (bits)(v != v);
  b = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
  *(halves *)to = __builtin_convertvector((b & ~nan) | (nan & 0x7fc0), halves);
}

/* ---- the one-dimensional transforms ----

   A two-dimensional one, M d M^T, is M applied to all rows and then to all columns. Q holds fractions of 24, so 24 Q is used and
   the result divided by 24^2 = 576 once: with integers (and weights that are multiples of 576) every step is exact. */

TEMPLATE void times_P(const vector d[6], vector t[6]) {
  vector a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
  t[0] = 4 * d[0] - 5 * d[2] + d[4];
  t[1] = a + b;
  t[2] = a - b;
  t[3] = c + e;
  t[4] = c - e;
  t[5] = 4 * d[1] - 5 * d[3] + d[5];
}

TEMPLATE void times_24_Q(const vector g[3], vector t[6]) {
  vector a = -4 * (g[0] + g[2]), b = g[0] + 4 * g[2];
  t[0] = 6 * g[0];
  t[1] = a - 4 * g[1];
  t[2] = a + 4 * g[1];
  t[3] = b + 2 * g[1];
  t[4] = b - 2 * g[1];
  t[5] = 24 * g[2];
}

TEMPLATE void times_24_Q_transposed(const vector t[6], vector g[3]) {
  vector a = t[1] + t[2], b = t[3] + t[4];
  g[0] = 6 * t[0] - 4 * a + b;
  g[1] = 4 * (t[2] - t[1]) + 2 * (t[3] - t[4]);
  g[2] = 4 * (b - a) + 24 * t[5];
}

TEMPLATE void times_S(const vector m[6], vector y[4]) {
  vector a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
  y[0] = m[0] + a + c;
  y[1] = b + 2 * e;
  y[2] = a + 4 * c;
  y[3] = b + 8 * e + m[5];
}

TEMPLATE void times_S_transposed(const vector y[4], vector m[6]) {
  vector a = y[0] + y[2], b = y[1] + y[3], c = y[0] + 4 * y[2], e = 2 * y[1] + 8 * y[3];
  m[0] = y[0];
  m[1] = a + b;
  m[2] = a - b;
  m[3] = c + e;
  m[4] = c - e;
  m[5] = y[3];
}

/* ---- tiles ---- */

typedef struct {
  int64_t image, row, column; /* of its first output */
} place;

TEMPLATE place place_of(const convolution *it, int64_t tile) {
  int64_t rows = (it->height + 3) / 4, columns = (it->width + 3) / 4;
  return (place){tile / (rows * columns), 4 * (tile / columns % rows), 4 * (tile % columns)};
}

static int64_t number_of_tiles(const convolution *it) { return it->images * ((it->height + 3) / 4) * ((it->width + 3) / 4); }

/* The channels of one pixel; outside of the image a row of zeros, so that the padding costs no branch in the loops over
   channels. */
TEMPLATE const char *pixel(const convolution *it, const char *image, int64_t c, place at, const char *zeros) {
  if (at.row < 0 || at.row >= it->height || at.column < 0 || at.column >= it->width) return zeros;
  return image + ((at.image * it->height + at.row) * it->width + at.column) * c * it->bytes;
}

/* Step 2: P d P^T of `count` tiles, rows of c_in numbers in each plane. */
TEMPLATE void transform_input(
    const convolution *it, const char *x, const char *zeros, int64_t first, int64_t count, float *planes, int64_t plane, int bytes) {
  for (int64_t n = 0; n < count; n++) {
    place start = place_of(it, first + n);
    const char *from[6][6];
    for (int p = 0; p < 6; p++)
      for (int q = 0; q < 6; q++) {
        place at = {start.image, start.row + p - 1, start.column + q - 1};
        from[p][q] = pixel(it, x, it->c_in, at, zeros);
      }
    for (int64_t c = 0; c < it->c_in; c += LANES) {
      vector half[6][6], line[6], done[6];
      for (int p = 0; p < 6; p++) {
        for (int q = 0; q < 6; q++) line[q] = load_number(from[p][q] + c * bytes, bytes);
        times_P(line, half[p]);
      }
      for (int q = 0; q < 6; q++) {
        for (int p = 0; p < 6; p++) line[p] = half[p][q];
        times_P(line, done);
        for (int p = 0; p < 6; p++) store(planes + (6 * p + q) * plane + n * it->c_in + c, done[p]);
      }
    }
  }
}

/* S^T g S of `count` tiles of the output's gradient g, the transpose of step 4, in planes of panels (see `product`) with `rows`
   rows, of which these begin at `row`. */
TEMPLATE void transform_gradient(
    const convolution *it, const char *g, const char *zeros, int64_t first, int64_t count, float *planes, int64_t plane, int64_t rows,
    int64_t row, int bytes) {
  for (int64_t n = 0; n < count; n++) {
    place start = place_of(it, first + n);
    const char *from[4][4];
    for (int p = 0; p < 4; p++)
      for (int q = 0; q < 4; q++) {
        place at = {start.image, start.row + p, start.column + q};
        from[p][q] = pixel(it, g, it->c_out, at, zeros);
      }
    for (int64_t panel = 0; panel < it->c_out; panel += WIDTH) {
      int64_t width = smaller(WIDTH, it->c_out - panel);
      for (int64_t c = 0; c < width; c += LANES) {
        vector half[4][6], line[4], done[6];
        for (int p = 0; p < 4; p++) {
          for (int q = 0; q < 4; q++) line[q] = load_number(from[p][q] + (panel + c) * bytes, bytes);
          times_S_transposed(line, half[p]);
        }
        for (int q = 0; q < 6; q++) {
          for (int p = 0; p < 4; p++) line[p] = half[p][q];
          times_S_transposed(line, done);
          for (int p = 0; p < 6; p++) store(planes + (6 * p + q) * plane + panel * rows + (row + n) * width + c, done[p]);
        }
      }
    }
  }
}

/* Step 4: S m S^T of `count` tiles, plus bias and addend if given, into the part of y inside of the images: the last tiles of a
   row or column may reach over the edge. */
TEMPLATE void write_output(
    const convolution *it, const float *planes, int64_t plane, int64_t first, int64_t count, const char *bias, const char *addend,
    char *y, int bytes) {
  for (int64_t n = 0; n < count; n++) {
    place start = place_of(it, first + n);
    for (int64_t c = 0; c < it->c_out; c += LANES) {
      vector half[4][6], line[6], done[4];
      for (int q = 0; q < 6; q++) {
        for (int p = 0; p < 6; p++) line[p] = load(planes + (6 * p + q) * plane + n * it->c_out + c);
        times_S(line, done);
        for (int p = 0; p < 4; p++) half[p][q] = done[p];
      }
      for (int p = 0; p < 4 && start.row + p < it->height; p++) {
        times_S(half[p], done);
        for (int q = 0; q < 4 && start.column + q < it->width; q++) {
          int64_t at = ((start.image * it->height + start.row + p) * it->width + start.column + q) * it->c_out + c;
          if (addend) done[q] += load_number(addend + at * bytes, bytes);
          if (bias) done[q] += load_number(bias + c * bytes, bytes);
          store_number(y + at * bytes, done[q], bytes);
        }
      }
    }
  }
}

/* ---- step 3: matrix products ---- */

/* A matrix by rows: the number at (row, step) is at[row * of_row + step * of_step]. */
typedef struct {
  const float *at;
  int64_t of_row, of_step;
} matrix;

/* to[r][j] (+)= sum over d of left(r, d) * right[d][j], for at most ROWS rows and VECTORS vectors j. `rows` and `vectors` are
   constants wherever this is inlined: the loops over them unroll and all of `sum` lives in registers. */
TEMPLATE void panel_product(int rows, int vectors, int64_t depth, matrix left, const float *right, float *to, int64_t to_row, int add) {
  vector sum[ROWS][VECTORS];
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < vectors; j++) sum[r][j] = (vector){0};
  for (int64_t d = 0; d < depth; d++) {
    vector line[VECTORS];
    for (int j = 0; j < vectors; j++) line[j] = load(right + d * vectors * LANES + j * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      float number = left.at[r * left.of_row + d * left.of_step];
#pragma GCC unroll 4
      for (int j = 0; j < vectors; j++) sum[r][j] += number * line[j];
    }
  }
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < vectors; j++) {
      float *at = to + r * to_row + j * LANES;
      if (add) sum[r][j] += load(at);
      store(at, sum[r][j]);
    }
}

#define WITH_ROWS(rows) panel_product(rows, vectors, depth, left, right, to, to_row, add)

TEMPLATE void some_rows(int64_t rows, int vectors, int64_t depth, matrix left, const float *right, float *to, int64_t to_row, int add) {
  switch (rows) {
    case 1: WITH_ROWS(1); break;
    case 2: WITH_ROWS(2); break;
    case 3: WITH_ROWS(3); break;
    case 4: WITH_ROWS(4); break;
    case 5: WITH_ROWS(5); break;
    default: WITH_ROWS(ROWS);
  }
}

static void wide_panel(int64_t rows, int64_t depth, matrix left, const float *right, float *to, int64_t to_row, int add) {
  some_rows(rows, VECTORS, depth, left, right, to, to_row, add);
}

#if VECTORS > 2
static void panel_of_3(int64_t rows, int64_t depth, matrix left, const float *right, float *to, int64_t to_row, int add) {
  some_rows(rows, 3, depth, left, right, to, to_row, add);
}

static void panel_of_2(int64_t rows, int64_t depth, matrix left, const float *right, float *to, int64_t to_row, int add) {
  some_rows(rows, 2, depth, left, right, to, to_row, add);
}
#else
#define panel_of_3 wide_panel
#define panel_of_2 wide_panel
#endif

static void panel_of_1(int64_t rows, int64_t depth, matrix left, const float *right, float *to, int64_t to_row, int add) {
  some_rows(rows, 1, depth, left, right, to, to_row, add);
}

/* to (rows, columns) (+)= left (rows, depth) right (depth, columns). `right` lies in panels of WIDTH columns behind each other,
   the last one as wide as what is left; each has depth rows without a gap. So the innermost loop reads it in one stream, and
   DEPTH rows of one panel serve all rows of `left` from the L1 cache. */
static void product(int64_t rows, int64_t columns, int64_t depth, matrix left, const float *right, float *to, int add) {
  for (int64_t d = 0; d < depth; d += DEPTH)
    for (int64_t j = 0; j < columns; j += WIDTH)
      for (int64_t r = 0; r < rows; r += ROWS) {
        int64_t width = smaller(WIDTH, columns - j), vectors = width / LANES, some = smaller(ROWS, rows - r), deep = smaller(DEPTH, depth - d);
        matrix part = {left.at + r * left.of_row + d * left.of_step, left.of_row, left.of_step};
        const float *panel = right + j * depth + d * width;
        float *at = to + r * columns + j;
        if (vectors == VECTORS)
          wide_panel(some, deep, part, panel, at, columns, add || d);
        else if (vectors == 3)
          panel_of_3(some, deep, part, panel, at, columns, add || d);
        else if (vectors == 2)
          panel_of_2(some, deep, part, panel, at, columns, add || d);
        else
          panel_of_1(some, deep, part, panel, at, columns, add || d);
      }
}

/* float32 numbers of working memory that one block needs; some calls need it once for each thread. */
int64_t mgnet_scratch(const convolution *it) { return 36 * (it->block * (it->c_in + it->c_out) + 2 * GAP); }

/* ---- the gradient with respect to the weight: both transforms, and sums over tiles ---- */

/* Those of `some` tiles, of which the first is tile n of the block that begins at `start` and has `count` tiles. */
static void transform_both(
    const convolution *it, const char *x, const char *g, const char *zeros, int64_t start, int64_t count, int64_t n, int64_t some,
    float *in, float *out) {
  int64_t plane_in = it->block * it->c_in + GAP, plane_out = it->block * it->c_out + GAP;
  if (it->bytes == 4) {
    transform_input(it, x, zeros, start + n, some, in + n * it->c_in, plane_in, 4);
    transform_gradient(it, g, zeros, start + n, some, out, plane_out, count, n, 4);
  } else {
    transform_input(it, x, zeros, start + n, some, in + n * it->c_in, plane_in, 2);
    transform_gradient(it, g, zeros, start + n, some, out, plane_out, count, n, 2);
  }
}

/* Rows from `row` on of plane k: what `count` tiles add to the sums. */
static void add_products(
    const convolution *it, int64_t k, int64_t row, int64_t rows, int64_t count, const float *in, const float *out, float *sums) {
  int64_t plane_in = it->block * it->c_in + GAP, plane_out = it->block * it->c_out + GAP;
  matrix image = {in + k * plane_in + row, 1, it->c_in};
  product(rows, it->c_out, count, image, out + k * plane_out, sums + k * (it->c_in * it->c_out + GAP) + row * it->c_out, 1);
}

/* Each thread has blocks and sums of its own, and waits for no other. For sums that a thread's cache holds. */
static void sums_apart(
    const convolution *it, const char *x, const char *g, const char *zeros, float *scratch, float *sums) {
  int64_t tiles = number_of_tiles(it), size = 36 * (it->c_in * it->c_out + GAP);
  float *in = scratch + omp_get_thread_num() * mgnet_scratch(it), *out = in + 36 * (it->block * it->c_in + GAP);
#pragma omp for schedule(static, 1)
  for (int64_t start = 0; start < tiles; start += it->block) {
    int64_t count = smaller(it->block, tiles - start);
    transform_both(it, x, g, zeros, start, count, 0, count, in, out);
    for (int64_t k = 0; k < 36; k++) add_products(it, k, 0, it->c_in, count, in, out, sums + omp_get_thread_num() * size);
  }
}

/* All threads do one block after the other, so that large sums are read and written less often. */
static void sums_together(
    const convolution *it, const char *x, const char *g, const char *zeros, float *scratch, float *sums) {
  int64_t tiles = number_of_tiles(it), groups = (it->c_in + ROWS * GROUP - 1) / (ROWS * GROUP);
  float *in = scratch, *out = in + 36 * (it->block * it->c_in + GAP);
  for (int64_t start = 0; start < tiles; start += it->block) {
    int64_t count = smaller(it->block, tiles - start);
#pragma omp for schedule(dynamic)
    for (int64_t n = 0; n < count; n += GROUP) transform_both(it, x, g, zeros, start, count, n, smaller(GROUP, count - n), in, out);
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < 36 * groups; unit++) {
      int64_t row = unit % groups * ROWS * GROUP;
      add_products(it, unit / groups, row, smaller(ROWS * GROUP, it->c_in - row), count, in, out, sums);
    }
  }
}

/* ---- step 1 and its transpose ---- */

TEMPLATE float load_one(const char *from, int bytes) {
  if (bytes == 4) return *(const float *)from;
  union {
    uint32_t bits;
    float value;
  } number = {(uint32_t)*(const uint16_t *)from << 16};
  return number.value;
}

/* Step 1: Q g Q^T of all kernels, in planes of panels. It is done at each call, as a weight may have changed in place since the
   last one; so it reads the weight with whatever strides it has, and all threads share the work. First GROUP x WIDTH kernels
   are copied to `taps`, in whose rows output channels are neighbors: the weight is read and the planes are written in whole lines,
   and only this copy, in a near cache, is written number by number where output channels are not neighbors in the weight. */
TEMPLATE void transform_weight(const convolution *it, const char *weight, strides by, float *planes, int bytes) {
  int64_t plane = it->c_in * it->c_out + GAP;
#pragma omp for collapse(2) schedule(static)
  for (int64_t first = 0; first < it->c_in; first += GROUP)
    for (int64_t panel = 0; panel < it->c_out; panel += WIDTH) {
      int64_t width = smaller(WIDTH, it->c_out - panel);
      float taps[GROUP][9][WIDTH];
      const char *block = weight + (panel * by.out + first * by.in) * bytes;
      if (by.out == 1) {
        for (int64_t in = 0; in < GROUP; in++)
          for (int tap = 0; tap < 9; tap++)
            for (int64_t c = 0; c < width; c += LANES) {
              int64_t at = in * by.in + tap / 3 * by.row + tap % 3 * by.column + c;
              store(&taps[in][tap][c], load_number(block + at * bytes, bytes));
            }
      } else {
        for (int64_t out = 0; out < width; out++)
          for (int64_t in = 0; in < GROUP; in++)
            for (int tap = 0; tap < 9; tap++) {
              int64_t at = out * by.out + in * by.in + tap / 3 * by.row + tap % 3 * by.column;
              taps[in][tap][out] = load_one(block + at * bytes, bytes);
            }
      }
      for (int64_t in = 0; in < GROUP; in++)
        for (int64_t c = 0; c < width; c += LANES) {
          float *to = planes + panel * it->c_in + (first + in) * width + c;
          vector half[3][6], line[3], done[6];
          for (int p = 0; p < 3; p++) {
            for (int q = 0; q < 3; q++) line[q] = load(&taps[in][3 * p + q][c]);
            times_24_Q(line, half[p]);
          }
          for (int q = 0; q < 6; q++) {
            for (int p = 0; p < 3; p++) line[p] = half[p][q];
            times_24_Q(line, done);
            for (int p = 0; p < 6; p++) store(to + (6 * p + q) * plane, done[p] / 576);
          }
        }
    }
}

/* Its transpose: Q^T (sums) Q, from planes (c_in, c_out) in `copies` copies, to a gradient (c_out, 3, 3, c_in), the layout of a
   channels_last weight. LANES x GROUP channels at a time are turned around in `turned`, so that whole lines are written. */
TEMPLATE void write_weight_gradient(const convolution *it, int64_t copies, const float *sums, char *gradient, int bytes) {
  int64_t plane = it->c_in * it->c_out + GAP;
#pragma omp for collapse(2) schedule(static)
  for (int64_t first = 0; first < it->c_in; first += GROUP)
    for (int64_t out = 0; out < it->c_out; out += LANES) {
      float turned[LANES][9][GROUP];
      for (int64_t in = 0; in < GROUP; in++) {
        vector half[3][6], line[6], done[3];
        for (int q = 0; q < 6; q++) {
          for (int p = 0; p < 6; p++) {
            const float *sum = sums + (6 * p + q) * plane + (first + in) * it->c_out + out;
            line[p] = load(sum);
            for (int64_t copy = 1; copy < copies; copy++) line[p] += load(sum + 36 * copy * plane);
          }
          times_24_Q_transposed(line, done);
          for (int p = 0; p < 3; p++) half[p][q] = done[p];
        }
        for (int p = 0; p < 3; p++) {
          times_24_Q_transposed(half[p], done);
          for (int q = 0; q < 3; q++) {
            done[q] /= 576;
            for (int l = 0; l < LANES; l++) turned[l][3 * p + q][in] = done[q][l];
          }
        }
      }
      for (int l = 0; l < LANES; l++)
        for (int tap = 0; tap < 9; tap++)
          for (int n = 0; n < GROUP; n += LANES)
            store_number(gradient + (((out + l) * 9 + tap) * it->c_in + first + n) * bytes, load(&turned[l][tap][n]), bytes);
    }
}

/* ---- what Python calls ---- */

/* float32 numbers in 36 planes of (c_in, c_out) matrices. */
int64_t mgnet_planes(const convolution *it) { return 36 * (it->c_in * it->c_out + GAP); }

/* The convolution of x (images, height, width, c_in) to y (..., c_out), plus bias (c_out) and addend like y where they are not
   null. `planes`, mgnet_planes numbers, takes the transformed weight, or holds it already where `weight` is null; `zeros` holds
   c_in of them. */
void mgnet_conv3x3(
    const convolution *it, const char *x, const char *weight, const strides *by, const char *bias, const char *addend,
    const char *zeros, float *planes, float *scratch, char *y) {
  int64_t tiles = number_of_tiles(it), plane_in = it->block * it->c_in + GAP, plane_out = it->block * it->c_out + GAP;
#pragma omp parallel num_threads(it->threads)
  {
    if (weight && it->bytes == 4)
      transform_weight(it, weight, *by, planes, 4);
    else if (weight)
      transform_weight(it, weight, *by, planes, 2);
    float *in = scratch + omp_get_thread_num() * mgnet_scratch(it), *out = in + 36 * plane_in;
#pragma omp for schedule(dynamic)
    for (int64_t first = 0; first < tiles; first += it->block) {
      int64_t count = smaller(it->block, tiles - first);
      if (it->bytes == 4)
        transform_input(it, x, zeros, first, count, in, plane_in, 4);
      else
        transform_input(it, x, zeros, first, count, in, plane_in, 2);
      for (int k = 0; k < 36; k++) {
        matrix tiles_of_k = {in + k * plane_in, it->c_in, 1};
        product(count, it->c_out, it->c_in, tiles_of_k, planes + k * (it->c_in * it->c_out + GAP), out + k * plane_out, 0);
      }
      if (it->bytes == 4)
        write_output(it, out, plane_out, first, count, bias, addend, y, 4);
      else
        write_output(it, out, plane_out, first, count, bias, addend, y, 2);
    }
  }
}

/* The gradient with respect to the weight, (c_out, 3, 3, c_in), of the convolution of x whose output has the gradient g.
   `copies` is the number of threads where each has sums and scratch of its own, else 1; `sums` holds mgnet_planes zeros in each
   copy, `zeros` as many as the wider image has channels. The bits do not depend on which thread is the faster one, nor, with
   one copy, on how many there are. */
void mgnet_conv3x3_grad_weight(
    const convolution *it, int64_t copies, const char *x, const char *g, const char *zeros, float *scratch, float *sums,
    char *gradient) {
#pragma omp parallel num_threads(it->threads)
  {
    if (copies > 1)
      sums_apart(it, x, g, zeros, scratch, sums);
    else
      sums_together(it, x, g, zeros, scratch, sums);
    if (it->bytes == 4)
      write_weight_gradient(it, copies, sums, gradient, 4);
    else
      write_weight_gradient(it, copies, sums, gradient, 2);
  }
}
