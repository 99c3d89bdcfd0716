// float32 to 16-bit floats, rounded to nearest even, without a compiler's half type: not every one has it.
#pragma once

#include <cstdint>

#include "common/bits.h"

namespace dfer {

// No branches, so that loops over it are vectorised.
inline std::uint16_t half_bits(float value) {
  const std::uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
  // Normal: exponent bias 127 becomes 15, 13 bits of the fraction go, a carry runs into the exponent as it should.
  const std::uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  // Below 2**-14: adding 0.5 lets the addition itself round to multiples of 2**-24.
  const std::uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  const std::uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;  // NaN, or 65520 and above
  const std::uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
  return static_cast<std::uint16_t>(sign | (magnitude >= 0x477ff000u ? special : finite));
}

inline std::uint16_t bfloat16_bits(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

}  // namespace dfer
