/* The arithmetic of mgnet_models/winograd.py, F(4x4, 3x3), on channels_last images in float32 or bfloat16.

   y = S [(Q g Q^T) . (P d P^T)] S^T for a tile y of 4x4 results, which reads 6x6 numbers d of the image; the 36 products in
   the middle are matrix products over the channels. A thread takes one block of tiles through all three steps, so that what
   stands between them stays in its cache. All arithmetic is float32; bfloat16 only says how images are stored.

   Channels are multiples of LANES. "Planes" are 36 matrices behind each other, one for each of the 6x6 places. */

#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

/* A panel of a matrix product: its sums, one row of the right factor and one number of the left fill the registers. */
#define ROWS 6
#if defined(__AVX512F__) || defined(__aarch64__)
#define VECTORS 4
#else
#define VECTORS 2
#endif
#define WIDTH (VECTORS * LANES)
#define DEPTH 128 /* rows of the right factor that stay in the first cache, and terms that are added up before the rest */
#define GROUP 16  /* tiles or rows that a thread takes at a time where threads share a block */
#define GAP 16    /* between planes: keeps the 36 of them from falling into the same lines of a cache */

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

#define TEMPLATE static inline __attribute__((always_inline))


typedef struct {
  int64_t images, height, width, c_in, c_out;
  int64_t block; /* tiles */
  int64_t threads;
  int64_t bytes; /* of a number of an image: 4 in float32, 2 in bfloat16; all else is float32 */
} convolution;

int omp_get_thread_num(void);

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- numbers in memory ---- */

TEMPLATE vector load(const float *from) { return *(const vector *)from; }

TEMPLATE void store(float *to, vector v) { *(vector *)to = v; }

TEMPLATE vector load_number(const char *from, int bytes) {
  if (bytes == 4) return load((const float *)from);
  return (vector)(__builtin_convertvector(*(const halves *)from, bits) << 16);
}

/* bfloat16 is rounded to nearest, ties to even; a NaN stays one. */
TEMPLATE void store_number(char *to, vector v, int bytes) {
  if (bytes == 4) {
    store((float *)to, v);
    return;
  }
  bits b = (bits)v, nan = (bits)(v != v);
  b = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
  *(halves *)to = __builtin_convertvector((b & ~nan) | (nan & 0x7fc0), halves);
}

/* ---- the four one-dimensional transforms ---- */

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
  int64_t image, row, column; /* of its first result */
} place;

TEMPLATE place place_of(const convolution *it, int64_t tile) {
  int64_t rows = (it->height + 3) / 4, columns = (it->width + 3) / 4;
  return (place){tile / (rows * columns), 4 * (tile / columns % rows), 4 * (tile % columns)};
}

static int64_t number_of_tiles(const convolution *it) { return it->images * ((it->height + 3) / 4) * ((it->width + 3) / 4); }

/* Where the channels of one pixel stand; zeros outside of the image. */
TEMPLATE const char *pixel(const convolution *it, const char *image, int64_t c, place at, const char *zeros) {
  if (at.row < 0 || at.row >= it->height || at.column < 0 || at.column >= it->width) return zeros;
  return image + ((at.image * it->height + at.row) * it->width + at.column) * c * it->bytes;
}

/* P d P^T of `count` tiles, rows of c_in numbers in each plane. */
TEMPLATE void transform_image(
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

/* S^T g S of `count` tiles, in planes of panels (see `product`) with `rows` rows, of which these begin at `row`. */
TEMPLATE void transform_derivative(
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
      int64_t width = least(WIDTH, it->c_out - panel);
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

/* S m S^T of `count` tiles, plus bias and addend where there are any, into the parts of y that lie inside of the images. */
TEMPLATE void write_result(
    const convolution *it, const float *planes, int64_t plane, int64_t first, int64_t count, const float *bias, const char *addend,
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
          if (bias) done[q] += load(bias + c);
          store_number(y + at * bytes, done[q], bytes);
        }
      }
    }
  }
}

/* ---- matrix products ---- */

/* A matrix by rows: the number at (row, step) is at[row * of_row + step * of_step]. */
typedef struct {
  const float *at;
  int64_t of_row, of_step;
} matrix;

/* to[r][j] (+)= sum over d of left(r, d) * right[d][j], for at most ROWS rows and VECTORS vectors j. */
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
   the last one as wide as what is left; each has depth rows without a gap. */
static void product(int64_t rows, int64_t columns, int64_t depth, matrix left, const float *right, float *to, int add) {
  for (int64_t d = 0; d < depth; d += DEPTH)
    for (int64_t j = 0; j < columns; j += WIDTH)
      for (int64_t r = 0; r < rows; r += ROWS) {
        int64_t width = least(WIDTH, columns - j), vectors = width / LANES, some = least(ROWS, rows - r), deep = least(DEPTH, depth - d);
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

/* ---- both transforms of a block, for the kernels' derivative ---- */

/* Those of `some` tiles, of which the first is tile n of the block that begins at `start` and has `count` tiles. */
static void transform_both(
    const convolution *it, const char *x, const char *g, const char *zeros, int64_t start, int64_t count, int64_t n, int64_t some,
    float *in, float *out) {
  int64_t plane_in = it->block * it->c_in + GAP, plane_out = it->block * it->c_out + GAP;
  if (it->bytes == 4) {
    transform_image(it, x, zeros, start + n, some, in + n * it->c_in, plane_in, 4);
    transform_derivative(it, g, zeros, start + n, some, out, plane_out, count, n, 4);
  } else {
    transform_image(it, x, zeros, start + n, some, in + n * it->c_in, plane_in, 2);
    transform_derivative(it, g, zeros, start + n, some, out, plane_out, count, n, 2);
  }
}

/* Rows from `row` on of plane k: what `count` tiles add to the sums. */
static void add_products(
    const convolution *it, int64_t k, int64_t row, int64_t rows, int64_t count, const float *in, const float *out, float *sums) {
  int64_t plane_in = it->block * it->c_in + GAP, plane_out = it->block * it->c_out + GAP;
  matrix image = {in + k * plane_in + row, 1, it->c_in};
  product(rows, it->c_out, count, image, out + k * plane_out, sums + (k * it->c_in + row) * it->c_out, 1);
}

/* Each thread has blocks and sums of its own, and waits for no other. For sums that a thread's cache holds. */
static void sums_apart(
    const convolution *it, const char *x, const char *g, const char *zeros, float *scratch, float *sums) {
  int64_t tiles = number_of_tiles(it), size = 36 * it->c_in * it->c_out;
  float *in = scratch + omp_get_thread_num() * mgnet_scratch(it), *out = in + 36 * (it->block * it->c_in + GAP);
#pragma omp for schedule(static, 1)
  for (int64_t start = 0; start < tiles; start += it->block) {
    int64_t count = least(it->block, tiles - start);
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
    int64_t count = least(it->block, tiles - start);
#pragma omp for schedule(dynamic)
    for (int64_t n = 0; n < count; n += GROUP) transform_both(it, x, g, zeros, start, count, n, least(GROUP, count - n), in, out);
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < 36 * groups; unit++) {
      int64_t row = unit % groups * ROWS * GROUP;
      add_products(it, unit / groups, row, least(ROWS * GROUP, it->c_in - row), count, in, out, sums);
    }
  }
}

/* ---- what Python calls ---- */

/* Q g Q^T: kernels (3, 3, c_in, c_out) to 36 planes of panels. */
void mgnet_transform_kernels(const convolution *it, const float *kernels, float *planes) {
  int64_t each = it->c_in * it->c_out;
#pragma omp parallel for num_threads(it->threads) schedule(static)
  for (int64_t row = 0; row < it->c_in; row++)
    for (int64_t panel = 0; panel < it->c_out; panel += WIDTH) {
      int64_t width = least(WIDTH, it->c_out - panel);
      for (int64_t c = 0; c < width; c += LANES) {
        vector half[3][6], line[3], done[6];
        for (int p = 0; p < 3; p++) {
          for (int q = 0; q < 3; q++) line[q] = load(kernels + (3 * p + q) * each + row * it->c_out + panel + c);
          times_24_Q(line, half[p]);
        }
        for (int q = 0; q < 6; q++) {
          for (int p = 0; p < 3; p++) line[p] = half[p][q];
          times_24_Q(line, done);
          for (int p = 0; p < 6; p++) store(planes + (6 * p + q) * each + panel * it->c_in + row * width + c, done[p] / 576);
        }
      }
    }
}

/* Images x to y, with the kernels that `mgnet_transform_kernels` made; bias and addend may be null. */
void mgnet_convolve(
    const convolution *it, const char *x, const float *kernels, const float *bias, const char *addend, const char *zeros, float *scratch,
    char *y) {
  int64_t tiles = number_of_tiles(it), plane_in = it->block * it->c_in + GAP, plane_out = it->block * it->c_out + GAP;
#pragma omp parallel num_threads(it->threads)
  {
    float *in = scratch + omp_get_thread_num() * mgnet_scratch(it), *out = in + 36 * plane_in;
#pragma omp for schedule(dynamic)
    for (int64_t first = 0; first < tiles; first += it->block) {
      int64_t count = least(it->block, tiles - first);
      if (it->bytes == 4)
        transform_image(it, x, zeros, first, count, in, plane_in, 4);
      else
        transform_image(it, x, zeros, first, count, in, plane_in, 2);
      for (int k = 0; k < 36; k++) {
        matrix image = {in + k * plane_in, it->c_in, 1};
        product(count, it->c_out, it->c_in, image, kernels + k * it->c_in * it->c_out, out + k * plane_out, 0);
      }
      if (it->bytes == 4)
        write_result(it, out, plane_out, first, count, bias, addend, y, 4);
      else
        write_result(it, out, plane_out, first, count, bias, addend, y, 2);
    }
  }
}

/* The derivative by the kernels, (3, 3, c_in, c_out), of the convolution of x whose result has the derivative g. `copies` is
   the number of threads where each has sums and scratch of its own, else 1; `sums` holds 36 c_in c_out zeros in each copy. The
   bits do not depend on which thread is the faster one, nor, with one copy, on how many there are. */
void mgnet_kernel_gradient(
    const convolution *it, int64_t copies, const char *x, const char *g, const char *zeros, float *scratch, float *sums,
    float *gradient) {
  int64_t each = it->c_in * it->c_out;
#pragma omp parallel num_threads(it->threads)
  {
    if (copies > 1)
      sums_apart(it, x, g, zeros, scratch, sums);
    else
      sums_together(it, x, g, zeros, scratch, sums);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < each; n += LANES) {
      vector half[3][6], line[6], done[3];
      for (int q = 0; q < 6; q++) {
        for (int p = 0; p < 6; p++) {
          const float *sum = sums + (6 * p + q) * each + n;
          line[p] = load(sum);
          for (int64_t copy = 1; copy < copies; copy++) line[p] += load(sum + 36 * copy * each);
        }
        times_24_Q_transposed(line, done);
        for (int p = 0; p < 3; p++) half[p][q] = done[p];
      }
      for (int p = 0; p < 3; p++) {
        times_24_Q_transposed(half[p], done);
        for (int q = 0; q < 3; q++) store(gradient + (3 * p + q) * each + n, done[q] / 576);
      }
    }
  }
}
