#include "attention_gate/attention_gate_cpu.h"

#include <vector>

#include "attention_gate/gate_passes.h"
#include "attention_gate/gate_small.h"
#include "common/parallel.h"

namespace dfer {
namespace {

using Floats = std::vector<float>;

Floats floats(std::int64_t count) { return Floats(static_cast<std::size_t>(count)); }

std::int64_t pixels(const GateShape& shape) { return shape.height * shape.width; }

std::int64_t out_pixels(const GateShape& shape) {
  return shape.pool ? (shape.height / 2) * (shape.width / 2) : pixels(shape);
}

struct Statistics {
  template <int kBytes>
  static DFER_INLINE void run(const float* x, std::int64_t count, std::int64_t begin, std::int64_t end, float* means,
                              float* maxima, float* plane) {
    constexpr int kBlock = 4, kWidth = kComparable<kBytes>;
    std::int64_t c = begin;
    for (; c + kBlock <= end; c += kBlock)
      channel_statistics<kWidth, kBlock>(x + c * count, count, means + c, maxima ? maxima + c : nullptr, plane);
    for (; c < end; ++c)
      channel_statistics<kWidth, 1>(x + c * count, count, means + c, maxima ? maxima + c : nullptr, plane);
  }
};

// Means and maxima [C] over the pixels and the mean [H, W] over the channels, each if not null.
void statistics(const GateShape& shape, const float* x, float* means, float* maxima, float* plane, int threads) {
  const std::int64_t count = pixels(shape), parts = std::max<std::int64_t>(std::min<std::int64_t>(threads, shape.channels), 1);
  Floats partial = floats(plane ? parts * count : 0);
  parallel_for(parts, threads, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t part = first; part < last; ++part)
      for_width<Statistics>(x, count, part * shape.channels / parts, (part + 1) * shape.channels / parts, means, maxima,
                            plane ? partial.data() + part * count : nullptr);
  });
  if (!plane) return;
  const float share = 1.0f / static_cast<float>(shape.channels);
  for (std::int64_t p = 0; p < count; ++p) {
    float total = 0;
    for (std::int64_t part = 0; part < parts; ++part) total += partial[static_cast<std::size_t>(part * count + p)];
    plane[p] = total * share;
  }
}

struct Mlp {
  template <int kBytes>
  static DFER_INLINE void run(const GateMlp* mlp, const float* pooled, std::int64_t channels, float* scores) {
    add_mlp<kBytes>(*mlp, pooled, channels, scores);
  }
};

// Gates every channel: scale[c] with PlainGate and SpatialGate, AgGate{scale[c]} with AgGate.
template <typename Gate>
struct Apply {
  template <int kBytes>
  static DFER_INLINE void run(const GateShape* shape, const float* x, const float* s, const float* scale, float* out,
                              std::int64_t begin, std::int64_t end) {
    const std::int64_t in = shape->height * shape->width;
    const std::int64_t size = shape->pool ? (shape->height / 2) * (shape->width / 2) : in;
    for (std::int64_t c = begin; c < end; ++c) {
      if constexpr (std::is_same_v<Gate, AgGate>)
        gate_channel<kComparable<kBytes>>(*shape, AgGate{scale[c]}, x + c * in, s, 1.0f, out + c * size);
      else
        gate_channel<kComparable<kBytes>>(*shape, Gate{}, x + c * in, s, scale[c], out + c * size);
    }
  }
};

struct MeanAndPool {
  template <int kBytes>
  static DFER_INLINE void run(const GateShape* shape, const float* x, const float* ones, float* means, float* out,
                              std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = begin; c < end; ++c) {
      Statistics::template run<kBytes>(x, shape->height * shape->width, c, c + 1, means, nullptr, nullptr);
      Apply<PlainGate>::template run<kBytes>(shape, x, x, ones, out, c, c + 1);
    }
  }
};

DFER_CLONES void scale_channels(float* values, const float* scale, std::int64_t channels, std::int64_t size) {
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t i = 0; i < size; ++i) values[c * size + i] *= scale[c];
}

template <typename Gate>
void apply(const GateShape& shape, const float* x, const float* s, const float* scale, float* out, int threads) {
  parallel_for(shape.channels, threads, [&](std::int64_t begin, std::int64_t end) {
    for_width<Apply<Gate>>(&shape, x, s, scale, out, begin, end);
  });
}

void to_sigmoid(float* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = sigmoid(values[i]);
}

struct PlaneExtremes {
  template <int kBytes>
  static DFER_INLINE void run(const float* x, const float* scale, std::int64_t channels, std::int64_t stride,
                              std::int64_t begin, std::int64_t end, float* maxima, float* means) {
    constexpr int kWidth = kComparable<kBytes>;
    constexpr std::int64_t kLanes = kWidth / 4;
    const float share = 1.0f / static_cast<float>(channels);
    std::int64_t p = begin;
    for (; p + kLanes <= end; p += kLanes) {
      Lanes<kWidth> highest = Lanes<kWidth>{} - INFINITY, total = {}, value;
      for (std::int64_t c = 0; c < channels; ++c) {
        load<kWidth>(value, x + c * stride + p);
        value *= scale[c];
        highest = larger(highest, value);
        total += value;
      }
      store<kWidth>(maxima + p, highest);
      store<kWidth>(means + p, total * share);
    }
    for (; p < end; ++p) {
      float highest = -INFINITY, total = 0;
      for (std::int64_t c = 0; c < channels; ++c) {
        const float value = x[c * stride + p] * scale[c];
        highest = larger(highest, value);
        total += value;
      }
      maxima[p] = highest;
      means[p] = total * share;
    }
  }
};

// Rows of `from` into the middle of plane `index`.
void fill(Padded& padded, std::int64_t index, const GateShape& shape, const float* from) {
  for (std::int64_t h = 0; h < shape.height; ++h)
    std::copy(from + h * shape.width, from + (h + 1) * shape.width, padded.row(index, h));
}

DFER_CLONES void spatial_sigmoid(const GateShape& shape, const GateConv& conv, Padded& planes, float* s) {
  for (std::int64_t h = 0; h < shape.height; ++h) convolve(conv, planes, 0, h, shape.width, s + h * shape.width);
  to_sigmoid(s, shape.height * shape.width);
}

DFER_CLONES void spatial_hidden(const GateShape& shape, const GateConv& conv, Padded& planes, Padded& hidden) {
  for (std::int64_t out = 0; out < conv.out; ++out)
    for (std::int64_t h = 0; h < shape.height; ++h) {
      float* row = hidden.row(out, h);
      convolve(conv, planes, out, h, shape.width, row);
      for (std::int64_t w = 0; w < shape.width; ++w) row[w] = row[w] < 0 ? 0 : row[w];
    }
}

}  // namespace

void se_gate(const GateShape& shape, const GateMlp& channel, const float* x, float* out, int threads) {
  Floats means = floats(shape.channels), scale = floats(shape.channels);
  const std::int64_t size = out_pixels(shape);
  if (shape.pool) {
    // The factor is not negative and the same for a whole channel: rounding is monotonic, so it commutes with the
    // maximum. One pass over x gives the mean and, from the cache, the pooled map.
    const Floats ones(static_cast<std::size_t>(shape.channels), 1.0f);
    parallel_for(shape.channels, threads, [&](std::int64_t begin, std::int64_t end) {
      for_width<MeanAndPool>(&shape, x, ones.data(), means.data(), out, begin, end);
    });
  } else {
    statistics(shape, x, means.data(), nullptr, nullptr, threads);
  }
  for_width<Mlp>(&channel, static_cast<const float*>(means.data()), shape.channels, scale.data());
  to_sigmoid(scale.data(), shape.channels);
  if (!shape.pool) return apply<PlainGate>(shape, x, x, scale.data(), out, threads);
  parallel_for(shape.channels, threads, [&](std::int64_t begin, std::int64_t end) {
    scale_channels(out + begin * size, scale.data() + begin, end - begin, size);
  });
}

void ag_gate(const GateShape& shape, const GateMlp& channel, const GateConv& spatial1, const GateConv& spatial2,
             const float* x, float* out, int threads) {
  Floats means = floats(shape.channels), a = floats(shape.channels), s = floats(pixels(shape));
  statistics(shape, x, means.data(), nullptr, s.data(), threads);
  for_width<Mlp>(&channel, static_cast<const float*>(means.data()), shape.channels, a.data());
  to_sigmoid(a.data(), shape.channels);
  Padded planes(1, shape.height, shape.width, spatial1.kernel / 2);
  Padded hidden(spatial1.out, shape.height, shape.width, spatial2.kernel / 2);
  fill(planes, 0, shape, s.data());
  spatial_hidden(shape, spatial1, planes, hidden);
  spatial_sigmoid(shape, spatial2, hidden, s.data());
  apply<AgGate>(shape, x, s.data(), a.data(), out, threads);
}

void cbam_gate(const GateShape& shape, const GateMlp& average, const GateMlp& maximum, const GateConv& spatial,
               const float* x, float* out, int threads) {
  const std::int64_t count = pixels(shape);
  Floats means = floats(shape.channels), maxima = floats(shape.channels), scale = floats(shape.channels);
  statistics(shape, x, means.data(), maxima.data(), nullptr, threads);
  for_width<Mlp>(&average, static_cast<const float*>(means.data()), shape.channels, scale.data());
  for_width<Mlp>(&maximum, static_cast<const float*>(maxima.data()), shape.channels, scale.data());
  to_sigmoid(scale.data(), shape.channels);
  Floats highest = floats(count), s = floats(count);
  parallel_for(count, threads, [&](std::int64_t begin, std::int64_t end) {
    for_width<PlaneExtremes>(x, static_cast<const float*>(scale.data()), shape.channels, count, begin, end,
                             highest.data(), s.data());
  });
  Padded planes(2, shape.height, shape.width, spatial.kernel / 2);
  fill(planes, 0, shape, highest.data());
  fill(planes, 1, shape, s.data());
  spatial_sigmoid(shape, spatial, planes, s.data());
  apply<SpatialGate>(shape, x, s.data(), scale.data(), out, threads);
}

}  // namespace dfer
