// Local binary patterns, ring 1: loops on raw pointers. Definition: kernels/lbp/reference.py.
#pragma once

#include <cstdint>

#include "common/affine.h"

namespace dfer {

// `weight[k]` is the value of neighbour k, counted clockwise from the top left.
struct LbpRule {
  std::uint8_t weight[8];
  bool zero_border;  // what lies outside is 0; otherwise it repeats the edge
};

// `channels` is 1 (grey) or 3 (RGB, interleaved); frames lie one behind the other.
struct LbpFrames {
  const std::uint8_t* data;
  std::int64_t height, width;
  int channels;
};

// Bytes that the two functions below need as scratch.
std::int64_t lbp_scratch(std::int64_t width);

// Codes [H, W] of one frame.
void lbp_codes(const LbpFrames& frames, std::int64_t frame, const LbpRule& rule, std::uint8_t* codes,
               std::uint8_t* scratch);

// Codes of one frame, normalised, into three planes [H, W] that are `plane_stride` floats apart.
void lbp_planes(const LbpFrames& frames, std::int64_t frame, const LbpRule& rule, const Affine affine[3], float* planes,
                std::int64_t plane_stride, std::uint8_t* scratch);

}  // namespace dfer
