#include "winograd/winograd_cpu.h"

#include <algorithm>

#include "common/parallel.h"
#include "common/width.h"

namespace dfer {
namespace {

constexpr int kOut = 4, kIn = 6, kPoints = kIn * kIn;
// Rows of a block of sums that stays in registers.
constexpr int kRows = 6;

// Tiles that go through the three steps together: as many as make reading the weights again as cheap as writing and
// reading the transformed tiles.
std::int64_t chunk_of(const Winograd& op) {
  const std::int64_t wanted = std::max<std::int64_t>(op.channels / 2, 48);
  return (wanted + kRows - 1) / kRows * kRows;
}

std::int64_t tiles_down(const Winograd& op) { return (op.height + kOut - 1) / kOut; }
std::int64_t tiles_across(const Winograd& op) { return (op.width + kOut - 1) / kOut; }

// B^T d of six vectors, `step` apart, in place.
template <int kBytes>
DFER_INLINE void to_points(Lanes<kBytes>* d, int step) {
  using Lane = Lanes<kBytes>;
  const Lane d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const Lane even = d4 - 4.0f * d2, odd = d3 - 4.0f * d1, near = d4 - d2, far = 2.0f * (d3 - d1);
  d[0] = 4.0f * d0 - 5.0f * d2 + d4;
  d[step] = even + odd;
  d[2 * step] = even - odd;
  d[3 * step] = near + far;
  d[4 * step] = near - far;
  d[5 * step] = 4.0f * d1 - 5.0f * d3 + d5;
}

// A^T m: four of six.
template <int kBytes>
DFER_INLINE void from_points(const Lanes<kBytes>* m, int step, Lanes<kBytes>* y, int out_step) {
  using Lane = Lanes<kBytes>;
  const Lane near = m[step] + m[2 * step], tilt = m[step] - m[2 * step];
  const Lane far = m[3 * step] + m[4 * step], slope = m[3 * step] - m[4 * step];
  y[0] = m[0] + near + far;
  y[out_step] = tilt + 2.0f * slope;
  y[2 * out_step] = near + 4.0f * far;
  y[3 * out_step] = tilt + 8.0f * slope + m[5 * step];
}

struct Place {
  std::int64_t image, top, left;  // of the tile's first output
};

DFER_INLINE Place place_of(const Winograd& op, std::int64_t tile) {
  const std::int64_t across = tiles_across(op), each = across * tiles_down(op);
  return {tile / each, tile % each / across * kOut, tile % across * kOut};
}

// points [36, count, C] of `count` tiles.
template <int kBytes>
DFER_INLINE void transform_in(const Winograd& op, const float* x, std::int64_t tile, std::int64_t count, float* points) {
  for (std::int64_t at = 0; at < count; ++at) {
    const Place place = place_of(op, tile + at);
    const float* const image = x + place.image * op.height * op.width * op.channels;
    for (std::int64_t c = 0; c < op.channels; c += kBytes / 4) {
      Lanes<kBytes> d[kPoints];
      for (int i = 0; i < kIn; ++i) {
        const std::int64_t h = place.top + i - 1;
        for (int j = 0; j < kIn; ++j) {
          const std::int64_t w = place.left + j - 1;
          const bool inside = h >= 0 && h < op.height && w >= 0 && w < op.width;
          if (inside)
            load<kBytes>(d[i * kIn + j], image + (h * op.width + w) * op.channels + c);
          else
            d[i * kIn + j] = Lanes<kBytes>{};
        }
        to_points<kBytes>(d + i * kIn, 1);
      }
      for (int j = 0; j < kIn; ++j) to_points<kBytes>(d + j, kIn);
      for (int p = 0; p < kPoints; ++p) store<kBytes>(points + (p * count + at) * op.channels + c, d[p]);
    }
  }
}

// kRows rows of a [., C] times w [C, 64]: kColumns vectors of a row of out at a time.
template <int kBytes, int kHeight, int kColumns>
DFER_INLINE void product(const float* a, const float* w, std::int64_t channels, std::int64_t out_step, float* out) {
  constexpr int kLanes = kBytes / 4;
  Lanes<kBytes> sums[kHeight][kColumns];
  for (int r = 0; r < kHeight; ++r)
    for (int v = 0; v < kColumns; ++v) sums[r][v] = Lanes<kBytes>{};
  for (std::int64_t c = 0; c < channels; ++c, w += kWinogradBlock) {
    Lanes<kBytes> row[kColumns];
    for (int v = 0; v < kColumns; ++v) load<kBytes>(row[v], w + v * kLanes);
    for (int r = 0; r < kHeight; ++r)
      for (int v = 0; v < kColumns; ++v) sums[r][v] += a[r * channels + c] * row[v];
  }
  for (int r = 0; r < kHeight; ++r)
    for (int v = 0; v < kColumns; ++v) store<kBytes>(out + r * out_step + v * kLanes, sums[r][v]);
}

// out [36, count, K] = points [36, count, C] times weights, point by point.
template <int kBytes>
DFER_INLINE void multiply(const Winograd& op, const float* points, const float* weights, std::int64_t count, float* out) {
  constexpr int kColumns = kBytes == 64 ? 4 : 2;
  constexpr std::int64_t kStep = kColumns * kBytes / 4;
  const std::int64_t blocks = op.outputs / kWinogradBlock;
  for (int p = 0; p < kPoints; ++p)
    for (std::int64_t block = 0; block < blocks; ++block) {
      const float* const own = weights + (p * blocks + block) * op.channels * kWinogradBlock;
      for (std::int64_t column = 0; column < kWinogradBlock; column += kStep) {
        const float* const a = points + p * count * op.channels;
        float* const to = out + p * count * op.outputs + block * kWinogradBlock + column;
        std::int64_t at = 0;
        for (; at + kRows <= count; at += kRows)
          product<kBytes, kRows, kColumns>(a + at * op.channels, own + column, op.channels, op.outputs,
                                           to + at * op.outputs);
        for (; at < count; ++at)
          product<kBytes, 1, kColumns>(a + at * op.channels, own + column, op.channels, op.outputs, to + at * op.outputs);
      }
    }
}

template <int kBytes>
DFER_INLINE void transform_out(const Winograd& op, const float* points, const float* biases, std::int64_t tile,
                               std::int64_t count, float* out) {
  for (std::int64_t at = 0; at < count; ++at) {
    const Place place = place_of(op, tile + at);
    for (std::int64_t k = 0; k < op.outputs; k += kBytes / 4) {
      Lanes<kBytes> m[kPoints], half[kOut * kIn], bias;
      load<kBytes>(bias, biases + k);
      for (int p = 0; p < kPoints; ++p) load<kBytes>(m[p], points + (p * count + at) * op.outputs + k);
      for (int j = 0; j < kIn; ++j) from_points<kBytes>(m + j, kIn, half + j, kIn);
      for (int i = 0; i < kOut && place.top + i < op.height; ++i) {
        Lanes<kBytes> y[kOut];
        from_points<kBytes>(half + i * kIn, 1, y, 1);
        for (int j = 0; j < kOut && place.left + j < op.width; ++j) {
          const std::int64_t cell = (place.image * op.height + place.top + i) * op.width + place.left + j;
          store<kBytes>(out + cell * op.outputs + k, y[j] + bias);
        }
      }
    }
  }
}

struct Tiles {
  template <int kBytes>
  static DFER_INLINE void run(const Winograd* op, const float* x, const float* weights, const float* bias, float* out,
                              float* scratch, std::int64_t begin, std::int64_t end) {
    const std::int64_t chunk = chunk_of(*op);
    float* const products = scratch + kPoints * chunk * op->channels;
    for (std::int64_t tile = begin; tile < end; tile += chunk) {
      const std::int64_t count = std::min(chunk, end - tile);
      transform_in<kBytes>(*op, x, tile, count, scratch);
      multiply<kBytes>(*op, scratch, weights, count, products);
      transform_out<kBytes>(*op, products, bias, tile, count, out);
    }
  }
};

}  // namespace

std::int64_t winograd_scratch(const Winograd& op, int threads) {
  return std::max(threads, 1) * kPoints * chunk_of(op) * (op.channels + op.outputs);
}

void winograd(const Winograd& op, const float* x, const float* weights, const float* bias, float* out, float* scratch,
              int threads) {
  const std::int64_t tiles = op.images * tiles_down(op) * tiles_across(op), each = winograd_scratch(op, 1);
  const std::int64_t parts = std::min<std::int64_t>(std::max(threads, 1), tiles);
  // A part is a thread's: each has scratch of its own.
  parallel_for(parts, threads, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t part = first; part < last; ++part)
      for_width<Tiles>(&op, x, weights, bias, out, scratch + part * each, part * tiles / parts,
                       (part + 1) * tiles / parts);
  });
}

}  // namespace dfer
