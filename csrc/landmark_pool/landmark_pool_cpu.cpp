#include "landmark_pool/landmark_pool_cpu.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/parallel.h"
#include "common/width.h"

namespace dfer {
namespace {

// Channels whose accumulators stay in registers together: AVX-512 has twice as many.
template <int kBytes>
constexpr int block_size() {
  return kBytes == 64 ? 8 : 4;
}

// Landmarks in the lanes of a group of registers: 18 of them and the global mean fit in one group at each width.
template <int kBytes>
constexpr int group_size() {
  return kBytes == 64 ? 2 : kBytes == 32 ? 3 : 5;
}

// out[j * stride] = exp(-(cell - centre_j)^2 / (2 sigma^2)) * scale for each cell; row J, the global mean, is `whole`.
void profile(const LandmarkPool& op, const float* points, int axis, float scale, float whole, std::int64_t lanes,
             std::vector<float>& out) {
  const std::int64_t cells = axis == 0 ? op.width : op.height;
  // Finite for every sigma above 0, so that the landmark's own cell keeps weight 1.
  const float unit = std::min(1.0f / (std::sqrt(2.0f) * op.sigma), 1e18f);
  out.assign(static_cast<std::size_t>(cells * lanes), 0.0f);
  for (std::int64_t j = 0; j < op.landmarks; ++j) {
    const float centre = points[2 * j + axis];
    // The nearest cell has weight 1 before the division, so the sum of a map far outside is not 0.
    const float last = static_cast<float>(cells - 1);
    const float nearest = std::min(std::max(std::nearbyint(centre), 0.0f), last);
    float total = 0;
    for (std::int64_t cell = 0; cell < cells; ++cell) {
      const float at = static_cast<float>(cell);
      // (at - centre)^2 - (nearest - centre)^2, which cancels for a centre far outside, as a product.
      const float distance = (at - centre) * unit;
      const float beyond = at == nearest ? 0.0f : (at - nearest) * unit * ((at - centre + (nearest - centre)) * unit);
      const float value = std::exp(op.norm_heat ? -beyond : -distance * distance);
      out[static_cast<std::size_t>(cell * lanes + j)] = value * scale;
      total += value;
    }
    if (op.norm_heat)
      for (std::int64_t cell = 0; cell < cells; ++cell) out[static_cast<std::size_t>(cell * lanes + j)] /= total;
  }
  for (std::int64_t cell = 0; cell < cells; ++cell) out[static_cast<std::size_t>(cell * lanes + op.landmarks)] = whole;
}

struct Image {
  const float* features;  // [C, H, W]
  TripletGates gates;     // of this image
  const float* gx;        // [W, lanes]
  const float* gy;        // [H, lanes]
  float* out;             // [J + 1, C]
};

// out = features * (over_channels + over_height + over_width) for a row of at least kBytes / 4 cells; the last vector
// overlaps the one before it instead of leaving a tail.
template <int kBytes>
DFER_INLINE void gate_cells(const float* features, const float* over_channels, const float* over_height,
                            float over_width, std::int64_t width, float* out) {
  constexpr std::int64_t kLanes = kBytes / 4;
  for (std::int64_t w = 0; w < width; w += kLanes) {
    const std::int64_t at = std::min(w, width - kLanes);
    Lanes<kBytes> value, by_channels, by_height;
    load<kBytes>(value, features + at);
    load<kBytes>(by_channels, over_channels + at);
    load<kBytes>(by_height, over_height + at);
    store<kBytes>(out + at, value * (by_channels + by_height + over_width));
  }
}

// One row of cells of kChannels channels, gated: the features themselves without gates.
template <int kBytes, int kChannels>
DFER_INLINE const float* gated_row(const LandmarkPool& op, const Image& image, std::int64_t channel, std::int64_t row,
                                   float* scratch, std::int64_t* stride) {
  const std::int64_t cells = op.height * op.width;
  const float* features = image.features + channel * cells + row * op.width;
  *stride = cells;
  if (!image.gates.over_channels) return features;
  *stride = op.width;
  const float* over_channels = image.gates.over_channels + row * op.width;
  for (int c = 0; c < kChannels; ++c, features += cells, scratch += op.width) {
    const float* over_height = image.gates.over_height + (channel + c) * op.width;
    const float over_width = image.gates.over_width[(channel + c) * op.height + row];
    if (op.width >= kBytes / 4)
      gate_cells<kBytes>(features, over_channels, over_height, over_width, op.width, scratch);
    else if (kBytes > 16 && op.width >= kBytes / 8)
      gate_cells<kBytes / 2>(features, over_channels, over_height, over_width, op.width, scratch);
    else
      gate_cells<4>(features, over_channels, over_height, over_width, op.width, scratch);
  }
  return scratch - kChannels * op.width;
}

template <int kBytes, int kChannels>
DFER_INLINE void pool_block(const LandmarkPool& op, const Image& image, std::int64_t channel, std::int64_t lanes,
                            float* scratch) {
  constexpr int kGroup = group_size<kBytes>();
  constexpr std::int64_t kLanes = kBytes / 4;
  for (std::int64_t first = 0; first < lanes; first += kGroup * kLanes) {
    Lanes<kBytes> sums[kChannels][kGroup] = {};
    for (std::int64_t h = 0; h < op.height; ++h) {
      std::int64_t stride;
      const float* cells = gated_row<kBytes, kChannels>(op, image, channel, h, scratch, &stride);
      // Over the row with gx, then once with gy: the map gy gx itself is never formed.
      Lanes<kBytes> row[kChannels][kGroup] = {};
      Lanes<kBytes> weight[kGroup];
      for (std::int64_t w = 0; w < op.width; ++w) {
        for (int g = 0; g < kGroup; ++g) load<kBytes>(weight[g], image.gx + w * lanes + first + g * kLanes);
        for (int c = 0; c < kChannels; ++c)
          for (int g = 0; g < kGroup; ++g) row[c][g] += cells[c * stride + w] * weight[g];
      }
      for (int g = 0; g < kGroup; ++g) load<kBytes>(weight[g], image.gy + h * lanes + first + g * kLanes);
      for (int c = 0; c < kChannels; ++c)
        for (int g = 0; g < kGroup; ++g) sums[c][g] += row[c][g] * weight[g];
    }
    const std::int64_t end = std::min<std::int64_t>(op.landmarks + 1, first + kGroup * kLanes);
    for (int c = 0; c < kChannels; ++c) {
      float values[kGroup * kLanes];
      for (int g = 0; g < kGroup; ++g) store<kBytes>(values + g * kLanes, sums[c][g]);
      for (std::int64_t j = first; j < end; ++j) image.out[j * op.channels + channel + c] = values[j - first];
    }
  }
}

struct PoolImages {
  template <int kBytes>
  static DFER_INLINE void run(const LandmarkPool* op, const float* features, const float* points,
                              const TripletGates* gates, float* out, std::int64_t begin, std::int64_t end,
                              std::int64_t parts) {
    constexpr int kBlock = block_size<kBytes>();
    constexpr std::int64_t kGroupLanes = group_size<kBytes>() * (kBytes / 4);
    const std::int64_t lanes = (op->landmarks + 1 + kGroupLanes - 1) / kGroupLanes * kGroupLanes;
    const bool gated = gates->over_channels != nullptr;
    const float third = gated ? 1.0f / 3.0f : 1.0f;
    const float height = static_cast<float>(op->height), width = static_cast<float>(op->width);
    std::vector<float> gx, gy, scratch(static_cast<std::size_t>(gated ? kBlock * op->width : 0));
    std::int64_t ready = -1;
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t n = item / parts, part = item % parts;
      if (n != ready) {
        const float* centres = points + n * op->landmarks * 2;
        profile(*op, centres, 0, op->norm_heat ? third : third / width, third / width, lanes, gx);
        profile(*op, centres, 1, op->norm_heat ? 1.0f : 1.0f / height, 1.0f / height, lanes, gy);
        ready = n;
      }
      Image image{features + n * op->channels * op->height * op->width, {}, gx.data(), gy.data(),
                  out + n * (op->landmarks + 1) * op->channels};
      if (gated)
        image.gates = {gates->over_channels + n * op->height * op->width,
                       gates->over_height + n * op->channels * op->width,
                       gates->over_width + n * op->channels * op->height};
      std::int64_t c = part * op->channels / parts;
      const std::int64_t last = (part + 1) * op->channels / parts;
      for (; c + kBlock <= last; c += kBlock) pool_block<kBytes, kBlock>(*op, image, c, lanes, scratch.data());
      for (; c < last; ++c) pool_block<kBytes, 1>(*op, image, c, lanes, scratch.data());
    }
  }
};

}  // namespace

void landmark_pool(const LandmarkPool& op, const float* features, const float* points, const TripletGates& gates,
                   float* out, int threads) {
  // A batch smaller than the threads is split by channels too.
  const std::int64_t parts = op.images >= threads ? 1 : std::min<std::int64_t>(op.channels, threads);
  parallel_for(op.images * parts, threads, [&](std::int64_t begin, std::int64_t end) {
    for_width<PoolImages>(&op, features, points, &gates, out, begin, end, parts);
  });
}

}  // namespace dfer
