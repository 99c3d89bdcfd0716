// The inner loops of clip_to_tensor, one row each, compiled for every vector width.
#pragma once

#include <cstdint>

#include "common/affine.h"
#include "common/dtypes.h"

namespace dfer {

// RGB of the pixels left <= x < right of an NV12 row.
void nv12_row(const std::uint8_t* luma, const std::uint8_t* chroma, std::int64_t left, std::int64_t right,
              std::uint8_t* rgb);

// out[x] = sum over k of weight[k] * rows[k][x].
void weigh_rows(const std::uint8_t* const* rows, const std::uint32_t* weight, std::int64_t taps, std::int64_t count,
                std::uint32_t* out);

// sums[4 x + c] = sum over k < taps of weight[x * taps + k] * row[3 * (first[x] + k) + c]; lane 3 is of no use.
void weigh_columns(const std::uint32_t* row, const std::int32_t* first, const std::uint32_t* weight, std::int64_t taps,
                   std::int64_t width, std::uint32_t* sums);

// rgb[3 x + c] = sums[4 x + c] / whole, rounded to nearest, halves up. The quotients are bytes; whole < 2**23.
void divide(std::uint32_t* sums, std::int64_t width, std::uint32_t whole, std::uint8_t* rgb);

// One channel of an interleaved row, normalised. 16-bit outputs are float16 or bfloat16 by `dtype`.
void normalise_row(const std::uint8_t* rgb, int channel, std::int64_t width, const Affine& affine, DType dtype,
                   float* out);
void normalise_row(const std::uint8_t* rgb, int channel, std::int64_t width, const Affine& affine, DType dtype,
                   std::uint16_t* out);

}  // namespace dfer
