// The CUDA form of lbp, run on the CPU by cuda_blocks_on_host.h, against its C++ loops (which lbp.cpp holds against the
// definition).
#include "lbp/lbp_cuda.cu"  // NOLINT: the kernels are templates

#include <cmath>
#include <vector>

#include "lbp/lbp_cpu.h"
#include "selftest/far.h"
#include "selftest/selftest.h"

namespace {

// Memory that begins on 16 bytes, as a GPU's does; `skip` bytes further on, words are narrower.
template <typename T>
class Aligned {
 public:
  Aligned(std::int64_t count, std::size_t skip, T value) : memory_(static_cast<std::size_t>(count) + skip + 32, value) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    begin_ = memory_.data() + (16 - address % 16) % 16 / sizeof(T) + skip;
  }
  T* data() const { return begin_; }

 private:
  std::vector<T> memory_;
  T* begin_;
};

template <int kChannels>
void compare(std::int64_t height, std::int64_t width, bool zero_border, std::size_t skip = 0) {
  const std::int64_t count = 2, pixels = height * width;
  const Aligned<std::uint8_t> frames(count * pixels * kChannels, skip, 0);
  selftest::Noise noise(static_cast<std::uint64_t>(height * 1000 + width));
  // Few values, so that many are equal, and some with the high bit.
  for (std::int64_t i = 0; i < count * pixels * kChannels; ++i) frames.data()[i] = noise.byte() & 0x87;
  const dfer::LbpRule rule{{1, 2, 4, 8, 16, 32, 64, 128}, zero_border};
  const dfer::LbpWeights weights{{1, 2, 4, 8, 16, 32, 64, 128}, zero_border};
  const dfer::Affine affine[3] = {{0.5f, 1.0f, 0.0f, 0.0f}, {0.25f, 0.0f, 0.0f, 0.0f}, {1.0f, -3.0f, 0.0f, 0.0f}};
  const dfer::LbpAffine maps{{affine[0], affine[1], affine[2]}};
  std::vector<std::uint8_t> scratch(static_cast<std::size_t>(dfer::lbp_scratch(width)));
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count * pixels));
  std::vector<float> clip(3 * codes.size());
  const Aligned<std::uint8_t> actual_codes(count * pixels, 0, 77);
  const Aligned<float> actual_clip(3 * count * pixels, 0, NAN);
  for (std::int64_t t = 0; t < count; ++t) {
    dfer::lbp_codes({frames.data(), height, width, kChannels}, t, rule, codes.data() + t * pixels, scratch.data());
    dfer::lbp_planes({frames.data(), height, width, kChannels}, t, rule, affine, clip.data() + t * pixels,
                     count * pixels, scratch.data());
  }
  const dfer::LbpShape shape{count, height, width, kChannels};
  selftest::expect(dfer::lbp_codes(frames.data(), shape, weights, actual_codes.data(), nullptr) == cudaSuccess, "launch", 0);
  selftest::expect(dfer::lbp_clip(frames.data(), shape, weights, maps, actual_clip.data(), nullptr) == cudaSuccess, "launch", 1);
  for (std::size_t i = 0; i < codes.size(); ++i) selftest::expect(codes[i] == actual_codes.data()[i], "code", static_cast<long long>(i));
  for (std::size_t i = 0; i < clip.size(); ++i) selftest::expect(clip[i] == actual_clip.data()[i], "clip", static_cast<long long>(i));
  selftest::expect(actual_codes.data()[codes.size()] == 77, "behind the codes", 0);
}

// The last of more frames than 32 bits can index, and only the threads that make it.
void far_frames() {
  const std::int64_t height = 32, width = 64, pixels = height * width, last = selftest::kBeyond32 / pixels;
  const selftest::Far<std::uint8_t> frames((last + 1) * pixels), codes((last + 1) * pixels);
  const std::int64_t plane = (last + 1) * pixels;
  const selftest::Far<float> clip(3 * plane);
  selftest::Noise noise(1);
  for (std::int64_t i = 0; i < pixels; ++i) frames[last * pixels + i] = noise.byte() & 31;
  std::vector<std::uint8_t> expected(static_cast<std::size_t>(pixels)), scratch(static_cast<std::size_t>(dfer::lbp_scratch(width)));
  dfer::lbp_codes({frames.data(), height, width, 1}, last, {{1, 2, 4, 8, 16, 32, 64, 128}, false}, expected.data(),
                  scratch.data());
  const dfer::LbpShape shape{last + 1, height, width, 1};
  const dfer::LbpWeights weights{{1, 2, 4, 8, 16, 32, 64, 128}, false};
  const dfer::LbpAffine maps{{{1, 0, 0, 0}, {2, 0, 0, 0}, {3, 0, 0, 0}}};
  cuda_host::wanted = [](uint3 index, dim3 grid) { return index.x + 16 >= grid.x; };
  selftest::expect(dfer::lbp_codes(frames.data(), shape, weights, codes.data(), nullptr) == cudaSuccess, "far launch", 0);
  selftest::expect(dfer::lbp_clip(frames.data(), shape, weights, maps, clip.data(), nullptr) == cudaSuccess, "far launch", 1);
  cuda_host::wanted = nullptr;
  for (std::int64_t i = 0; i < pixels; ++i) {
    const int code = expected[static_cast<std::size_t>(i)];
    const std::int64_t at = last * pixels + i;
    selftest::expect(codes[at] == code, "far code", i);
    for (int c = 0; c < 3; ++c) selftest::expect(clip[c * plane + at] == static_cast<float>((c + 1) * code), "far clip", i);
  }
}

}  // namespace

int main() {
  far_frames();
  for (bool zero_border : {false, true})
    for (std::int64_t width : {1, 2, 4, 7, 8, 13, 16, 64})
      for (std::int64_t height : {1, 7, 8, 19}) {
        compare<1>(height, width, zero_border);
        compare<3>(height, width, zero_border);
        compare<1>(height, width, zero_border, 4);  // on four bytes, not on sixteen
        compare<1>(height, width, zero_border, 1);
      }
  return selftest::result("lbp_cuda");
}
