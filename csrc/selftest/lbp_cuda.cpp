// The CUDA kernels of lbp, run on the CPU, against its C++ loops (which lbp.cpp holds against the definition).
#include <cmath>
#include <vector>

#include "selftest/cuda_on_host.h"
#include "selftest/far.h"
#include "selftest/selftest.h"

#include "lbp/lbp_cpu.h"
#include "lbp/lbp_cuda.cuh"

namespace {

template <int kChannels, typename Store>
void run(const std::uint8_t* frames, dfer::LbpShape shape, dfer::LbpWeights weights, bool words, Store store) {
  const std::int64_t threads = shape.frames * ((shape.height + dfer::kLbpRows - 1) / dfer::kLbpRows) * ((shape.width + 3) / 4);
  selftest::launch(dim3(static_cast<unsigned>((threads + 31) / 32)), dim3(32), dfer::lbp_kernel<kChannels, Store>, frames,
                   shape, weights, words, store);
}

template <int kChannels>
void compare(std::int64_t height, std::int64_t width, bool zero_border) {
  const std::int64_t count = 2, pixels = height * width;
  std::vector<std::uint8_t> frames(static_cast<std::size_t>(count * pixels * kChannels));
  selftest::Noise noise(static_cast<std::uint64_t>(height * 1000 + width));
  for (auto& byte : frames) byte = noise.byte() & 31;
  const dfer::LbpRule rule{{1, 2, 4, 8, 16, 32, 64, 128}, zero_border};
  const dfer::LbpWeights weights{{1, 2, 4, 8, 16, 32, 64, 128}, zero_border};
  const dfer::Affine affine[3] = {{0.5f, 1.0f, 0.0f, 0.0f}, {0.25f, 0.0f, 0.0f, 0.0f}, {1.0f, -3.0f, 0.0f, 0.0f}};
  const dfer::LbpAffine maps{{affine[0], affine[1], affine[2]}};
  std::vector<std::uint8_t> scratch(static_cast<std::size_t>(dfer::lbp_scratch(width)));
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count * pixels)), actual_codes(codes.size(), 77);
  std::vector<float> clip(3 * codes.size()), actual_clip(clip.size(), NAN);
  for (std::int64_t t = 0; t < count; ++t) {
    dfer::lbp_codes({frames.data(), height, width, kChannels}, t, rule, codes.data() + t * pixels, scratch.data());
    dfer::lbp_planes({frames.data(), height, width, kChannels}, t, rule, affine, clip.data() + t * pixels,
                     count * pixels, scratch.data());
  }
  const dfer::LbpShape shape{count, height, width, kChannels};
  const bool words = width % 4 == 0;
  run<kChannels>(frames.data(), shape, weights, words, dfer::LbpToCodes{actual_codes.data()});
  run<kChannels>(frames.data(), shape, weights, words, dfer::LbpToClip{actual_clip.data(), count * pixels, maps});
  for (std::size_t i = 0; i < codes.size(); ++i) selftest::expect(codes[i] == actual_codes[i], "code", static_cast<long long>(i));
  for (std::size_t i = 0; i < clip.size(); ++i) selftest::expect(clip[i] == actual_clip[i], "clip", static_cast<long long>(i));
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
  const std::int64_t frame_threads = height / dfer::kLbpRows * width / 4, blocks = (last + 1) * frame_threads / 32;
  const auto first = static_cast<unsigned>(blocks - frame_threads / 32);
  for (bool words : {false, true}) {
    selftest::launch_from(first, dim3(static_cast<unsigned>(blocks)), dim3(32), dfer::lbp_kernel<1, dfer::LbpToCodes>,
                          frames.data(), shape, weights, words, dfer::LbpToCodes{codes.data()});
    selftest::launch_from(first, dim3(static_cast<unsigned>(blocks)), dim3(32), dfer::lbp_kernel<1, dfer::LbpToClip>,
                          frames.data(), shape, weights, words, dfer::LbpToClip{clip.data(), plane, maps});
    for (std::int64_t i = 0; i < pixels; ++i) {
      const int code = expected[static_cast<std::size_t>(i)];
      const std::int64_t at = last * pixels + i;
      selftest::expect(codes[at] == code, "far code", i);
      for (int c = 0; c < 3; ++c) selftest::expect(clip[c * plane + at] == static_cast<float>((c + 1) * code), "far clip", i);
      codes[at] = 77;
    }
  }
}

}  // namespace

int main() {
  far_frames();
  for (bool zero_border : {false, true})
    for (std::int64_t width : {1, 2, 4, 7, 8, 13, 64})
      for (std::int64_t height : {1, 7, 8, 19}) {
        compare<1>(height, width, zero_border);
        compare<3>(height, width, zero_border);
      }
  return selftest::result("lbp_cuda");
}
