#include <algorithm>

#include "attention_gate/gate_passes.cuh"
#include "attention_gate/gate_small.cuh"

namespace dfer {

namespace {

constexpr int kMostUnits = 3072;
constexpr std::int64_t kMostPixels = std::int64_t{1} << 32;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The scratch memory, cut up; sized for one pixel a thread, which takes the most blocks.
struct Scratch {
  Scratch(const GateSizes& sizes, float* memory) {
    const std::int64_t pixels = static_cast<std::int64_t>(sizes.height) * sizes.width, channels = sizes.channels;
    pixel_blocks = ceil_div(pixels, kGateThreads);
    channel_blocks = ceil_div(channels, kGateChannels);
    float* at = memory;
    const auto take = [&](std::int64_t count) {
      float* const taken = at;
      at += sizes.images * count;
      return taken;
    };
    s = take(pixels);  // first: it is read in words of 16 bytes
    scale = take(channels);
    sums = take(pixel_blocks * channels);
    maxima = take(pixel_blocks * channels);
    planes = take(std::max<std::int64_t>(channel_blocks, 2) * pixels);
    floats = at - memory;
  }
  std::int64_t pixel_blocks, channel_blocks, floats;
  float *scale, *s, *sums, *maxima, *planes;
};

template <typename T>
class Gate {
 public:
  Gate(GateKind kind, const GateSizes& sizes, const GateArrays& arrays, cudaStream_t stream)
      : kind_(kind), sizes_(sizes), arrays_(arrays), stream_(stream), scratch_(sizes, arrays.scratch),
        pixels_(static_cast<std::int64_t>(sizes.height) * sizes.width),
        x_(static_cast<const T*>(arrays.x)), out_(static_cast<T*>(arrays.out)) {
    words_ = pixels_ % kVector == 0 && aligned_to(arrays.x, 16) && aligned_to(arrays.scratch, 16);
  }

  cudaError_t run() {
    const int vector = words_ ? kVector : 1;
    scratch_.pixel_blocks = ceil_div(pixels_, kGateThreads * vector);
    if (words_)
      statistics<kVector>();
    else
      statistics<1>();
    const std::int64_t tiles = ceil_div(sizes_.height, kSmallSide) * ceil_div(sizes_.width, kSmallSide);
    middle(kind_ == GateKind::agfer ? tiles : 0);
    if (kind_ == GateKind::cbam) {
      const auto extremes = words_ ? gate_extremes_kernel<T, kVector> : gate_extremes_kernel<T, 1>;
      launch(extremes, grid_of(ceil_div(pixels_, 32 * vector), sizes_.images), kExtremesThreads, 0, stream_, x_,
             scratch_.scale, sizes_.channels, pixels_, scratch_.planes);
      launch(gate_spatial_kernel<T>, grid_of(tiles, sizes_.images), kSmallThreads, 0, stream_, weight(8), weight(9),
             scratch_.planes, sizes_.height, sizes_.width, scratch_.s);
      apply<GateKind::cbam>();
    } else if (kind_ == GateKind::se) {
      apply<GateKind::se>();
    } else {
      apply<GateKind::agfer>();
    }
    return cudaGetLastError();
  }

 private:
  static constexpr int kVector = 16 / sizeof(T);

  const T* weight(int index) const { return static_cast<const T*>(arrays_.weights[index]); }

  template <int kWord>
  void statistics() {
    const auto kernel = kind_ == GateKind::cbam   ? gate_statistics_kernel<T, kWord, true, false>
                        : kind_ == GateKind::agfer ? gate_statistics_kernel<T, kWord, false, true>
                                                   : gate_statistics_kernel<T, kWord, false, false>;
    launch(kernel, grid_of(scratch_.pixel_blocks, scratch_.channel_blocks, sizes_.images), kGateThreads, 0, stream_, x_,
           sizes_.channels, pixels_, scratch_.sums, scratch_.maxima, scratch_.planes);
  }

  void middle(std::int64_t tiles) {
    const bool cbam = kind_ == GateKind::cbam;
    const GateLayers<T> average{weight(0), weight(1), weight(2), weight(3), sizes_.hidden};
    const GateLayers<T> maximum = cbam ? GateLayers<T>{weight(4), weight(5), weight(6), weight(7), sizes_.hidden2} : average;
    const GateConvs<T> convs = tiles ? GateConvs<T>{weight(4), weight(5), weight(6), weight(7), sizes_.planes} : GateConvs<T>{};
    const GatePartials partials{scratch_.sums, scratch_.maxima, scratch_.planes, static_cast<int>(scratch_.pixel_blocks),
                                static_cast<int>(scratch_.channel_blocks)};
    const std::size_t bytes = sizeof(float) * (2 * sizes_.channels + std::max(sizes_.hidden, sizes_.hidden2));
    const auto kernel = cbam ? middle_of<true>(reads_words(average, maximum)) : middle_of<false>(reads_words(average, average));
    launch(kernel, grid_of(1 + tiles, sizes_.images), kSmallThreads, bytes, stream_, average, maximum, convs,
           sizes_.channels, sizes_.height, sizes_.width, partials, scratch_.scale, scratch_.s);
  }

  // Whether rows of the MLPs' weights are made of whole words.
  bool reads_words(const GateLayers<T>& average, const GateLayers<T>& maximum) const {
    const auto fits = [&](const GateLayers<T>& layers) {
      return layers.hidden % kVector == 0 && aligned_to(layers.weight1, 16) && aligned_to(layers.weight2, 16);
    };
    return sizes_.channels % kVector == 0 && fits(average) && fits(maximum);
  }

  template <bool kMaximum>
  static auto middle_of(bool words) {
    return words ? gate_middle_kernel<T, kVector, kMaximum> : gate_middle_kernel<T, 1, kMaximum>;
  }

  template <GateKind kKind>
  void apply() {
    const int height = sizes_.height, width = sizes_.width, channels = sizes_.channels;
    const auto channels_and_images = [&](std::int64_t threads) {
      return grid_of(ceil_div(threads, kGateThreads), channels, sizes_.images);
    };
    if (sizes_.pool) {
      // The widest words that a row is made of, and half of them a row of the output.
      const bool words = words_ && aligned_to(out_, 8), rows = words && width % kVector == 0, fours = words && width % 4 == 0;
      const auto kernel = rows    ? gate_pool_kernel<T, kVector, kKind>
                          : fours ? gate_pool_kernel<T, 4, kKind>
                                  : gate_pool_kernel<T, 2, kKind>;
      const std::int64_t columns = width / 2 * 2 / (rows ? kVector : fours ? 4 : 2);
      launch(kernel, channels_and_images(height / 2 * columns), kGateThreads, 0, stream_, x_, scratch_.scale,
             scratch_.s, channels, height, width, out_);
    } else {
      const bool words = words_ && aligned_to(out_, 16);
      const auto kernel = words ? gate_apply_kernel<T, kVector, kKind> : gate_apply_kernel<T, 1, kKind>;
      dim3 grid = channels_and_images(words ? pixels_ / kVector : pixels_);
      grid.y = (grid.y + kGateMaps - 1) / kGateMaps;
      launch(kernel, grid, kGateThreads, 0, stream_, x_,
             scratch_.scale, scratch_.s, channels, pixels_, out_);
    }
  }

  static dim3 grid_of(std::int64_t x, std::int64_t y, std::int64_t z = 1) {
    return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z));
  }

  GateKind kind_;
  GateSizes sizes_;
  GateArrays arrays_;
  cudaStream_t stream_;
  Scratch scratch_;
  std::int64_t pixels_;
  const T* x_;
  T* out_;
  bool words_;
};

}  // namespace

std::int64_t gate_scratch(const GateSizes& sizes) { return Scratch(sizes, nullptr).floats; }

cudaError_t attention_gate(GateKind kind, const GateSizes& sizes, const GateArrays& arrays, DType dtype,
                           cudaStream_t stream) {
  if (sizes.images == 0) return cudaSuccess;
  // Grids count images and channels in 16 bits, threads of a map in 32; the MLP's vectors lie in shared memory.
  if (static_cast<std::int64_t>(sizes.height) * sizes.width > kMostPixels || sizes.images > 65535 || sizes.channels > kMostUnits || sizes.hidden > kMostUnits ||
      sizes.hidden2 > kMostUnits)
    return cudaErrorInvalidValue;
  return for_dtype(dtype, [&](auto element) { return Gate<decltype(element)>(kind, sizes, arrays, stream).run(); });
}

}  // namespace dfer
