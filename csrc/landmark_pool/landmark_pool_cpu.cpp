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

// A small map is one run of all its cells, whose weights, map by map, stay in the first-level cache. Of a larger one
// each row is a run: cells get gx, the row's sum gy, and no map is formed.
constexpr std::int64_t kMapBytes = 24 << 10;

// Channels that are gathered before they are written: rows of the output lie powers of two apart, and a few channels
// at a time would drive each other out of the cache.
constexpr std::int64_t kTile = 64;

struct Image {
  const float* features;  // [C, H, W]
  TripletGates gates;     // of this image
  const float* by_cell;   // [run, lanes]
  const float* by_run;    // [H W / run, lanes]
  std::int64_t run;       // cells: W, or H W
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

// A run of cells of kChannels channels that lie `stride` apart, gated: the features themselves without gates.
template <int kBytes, int kChannels>
DFER_INLINE const float* gated_run(const LandmarkPool& op, const Image& image, std::int64_t channel, std::int64_t begin,
                                   float* scratch, std::int64_t* stride) {
  const std::int64_t cells = op.height * op.width, width = op.width;
  const float* features = image.features + channel * cells + begin;
  *stride = cells;
  if (!image.gates.over_channels) return features;
  *stride = image.run;
  for (int c = 0; c < kChannels; ++c, features += cells) {
    const float* over_height = image.gates.over_height + (channel + c) * width;
    for (std::int64_t at = 0; at < image.run; at += width) {
      const float* over_channels = image.gates.over_channels + begin + at;
      const float over_width = image.gates.over_width[(channel + c) * op.height + (begin + at) / width];
      float* const out = scratch + c * image.run + at;
      if (width >= kBytes / 4)
        gate_cells<kBytes>(features + at, over_channels, over_height, over_width, width, out);
      else if (kBytes > 16 && width >= kBytes / 8)
        gate_cells<kBytes / 2>(features + at, over_channels, over_height, over_width, width, out);
      else
        gate_cells<4>(features + at, over_channels, over_height, over_width, width, out);
    }
  }
  return scratch;
}

template <int kBytes, int kChannels>
DFER_INLINE void pool_block(const LandmarkPool& op, const Image& image, std::int64_t channel, std::int64_t lanes,
                            float* scratch, float* out) {
  constexpr int kGroup = group_size<kBytes>();
  constexpr std::int64_t kLanes = kBytes / 4;
  const std::int64_t cells = op.height * op.width;
  for (std::int64_t first = 0; first < lanes; first += kGroup * kLanes) {
    Lanes<kBytes> sums[kChannels][kGroup];
    for (int c = 0; c < kChannels; ++c)
      for (int g = 0; g < kGroup; ++g) sums[c][g] = Lanes<kBytes>{};
    for (std::int64_t begin = 0; begin < cells; begin += image.run) {
      std::int64_t stride;
      const float* values = gated_run<kBytes, kChannels>(op, image, channel, begin, scratch, &stride);
      Lanes<kBytes> run[kChannels][kGroup] = {};
      Lanes<kBytes> weight[kGroup];
      const float* weights = image.by_cell + first;
      for (std::int64_t cell = 0; cell < image.run; ++cell, weights += lanes) {
        for (int g = 0; g < kGroup; ++g) load<kBytes>(weight[g], weights + g * kLanes);
        for (int c = 0; c < kChannels; ++c)
          for (int g = 0; g < kGroup; ++g) run[c][g] += values[c * stride + cell] * weight[g];
      }
      weights = image.by_run + begin / image.run * lanes + first;
      for (int g = 0; g < kGroup; ++g) load<kBytes>(weight[g], weights + g * kLanes);
      for (int c = 0; c < kChannels; ++c)
        for (int g = 0; g < kGroup; ++g) sums[c][g] += run[c][g] * weight[g];
    }
    const std::int64_t end = std::min<std::int64_t>(op.landmarks + 1, first + kGroup * kLanes);
    for (int c = 0; c < kChannels; ++c) {
      float values[kGroup * kLanes];
      for (int g = 0; g < kGroup; ++g) store<kBytes>(values + g * kLanes, sums[c][g]);
      for (std::int64_t j = first; j < end; ++j) out[j * kTile + c] = values[j - first];
    }
  }
}

// map[cell, lane] = gy gx, and 1 for the run that it makes.
void merge(const std::vector<float>& gx, const std::vector<float>& gy, std::int64_t lanes, std::vector<float>& map,
           std::vector<float>& ones) {
  map.resize(gx.size() * gy.size() / static_cast<std::size_t>(lanes));
  float* out = map.data();
  for (const float* y = gy.data(); y < gy.data() + gy.size(); y += lanes)
    for (const float* x = gx.data(); x < gx.data() + gx.size(); x += lanes)
      for (std::int64_t lane = 0; lane < lanes; ++lane) *out++ = y[lane] * x[lane];
  ones.assign(static_cast<std::size_t>(lanes), 1.0f);
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
    const std::int64_t cells = op->height * op->width;
    const bool whole = cells * lanes * std::int64_t{sizeof(float)} <= kMapBytes;
    const std::int64_t run = whole ? cells : op->width;
    std::vector<float> gx, gy, map, ones, scratch(static_cast<std::size_t>(gated ? kBlock * run : 0));
    std::vector<float> tile(static_cast<std::size_t>((op->landmarks + 1) * kTile));
    std::int64_t ready = -1;
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t n = item / parts, part = item % parts;
      if (n != ready) {
        const float* centres = points + n * op->landmarks * 2;
        profile(*op, centres, 0, op->norm_heat ? third : third / width, third / width, lanes, gx);
        profile(*op, centres, 1, op->norm_heat ? 1.0f : 1.0f / height, 1.0f / height, lanes, gy);
        if (whole) merge(gx, gy, lanes, map, ones);
        ready = n;
      }
      Image image{features + n * op->channels * cells, {},
                  whole ? map.data() : gx.data(), whole ? ones.data() : gy.data(),
                  run, out + n * (op->landmarks + 1) * op->channels};
      if (gated)
        image.gates = {gates->over_channels + n * cells,
                       gates->over_height + n * op->channels * op->width,
                       gates->over_width + n * op->channels * op->height};
      std::int64_t c = part * op->channels / parts;
      const std::int64_t last = (part + 1) * op->channels / parts;
      while (c < last) {
        const std::int64_t from = c, to = std::min(last, from + kTile);
        for (; c + kBlock <= to; c += kBlock)
          pool_block<kBytes, kBlock>(*op, image, c, lanes, scratch.data(), tile.data() + c - from);
        for (; c < to; ++c) pool_block<kBytes, 1>(*op, image, c, lanes, scratch.data(), tile.data() + c - from);
        for (std::int64_t j = 0; j <= op->landmarks; ++j)
          std::copy_n(tile.data() + j * kTile, to - from, image.out + j * op->channels + from);
      }
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
