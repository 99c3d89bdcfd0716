// Loops written once for a vector width, compiled for 16, 32 and 64 bytes, chosen by the running CPU.
//
// DFER_CLONES leaves the vectors to the compiler. Where a block of accumulators has to stay in registers that is too
// fragile: there a loop is a struct with `template <int kBytes> static void run(...)`, marked DFER_INLINE, on
// Lanes<kBytes>, and for_width<Loop>(arguments...) calls the right copy.
#pragma once

#include <cstring>
#include <type_traits>

#if defined(__x86_64__) && defined(__GNUC__)
#define DFER_TARGET_V4 __attribute__((noinline, target("arch=x86-64-v4")))
#define DFER_TARGET_V3 __attribute__((noinline, target("arch=x86-64-v3")))
#endif

#define DFER_INLINE inline __attribute__((always_inline))

// Vectors are returned by value, but only from functions that are always inlined: no ABI is involved.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

namespace dfer {

// A vector of floats in one register of kBytes.
template <int kBytes>
struct LanesOf {
  typedef float type __attribute__((vector_size(kBytes)));
  // The same wherever it lies. Not std::memcpy: GCC 12 copies 32 bytes by halves through the stack, and the whole load
  // that follows waits for both stores.
  typedef float anywhere __attribute__((vector_size(kBytes), aligned(4), may_alias));
  typedef int index __attribute__((vector_size(kBytes)));
};
template <int kBytes>
using Lanes = typename LanesOf<kBytes>::type;

// Width for loops that compare or shuffle: GCC takes 64-byte vectors apart there, lane by lane.
template <int kBytes>
constexpr int kComparable = kBytes > 32 ? 32 : kBytes;

template <int kBytes>
DFER_INLINE void load(Lanes<kBytes>& lanes, const float* from) {
  lanes = *reinterpret_cast<const typename LanesOf<kBytes>::anywhere*>(from);
}

template <int kBytes>
DFER_INLINE void store(float* to, const Lanes<kBytes>& lanes) {
  *reinterpret_cast<typename LanesOf<kBytes>::anywhere*>(to) = lanes;
}

// Sum of the lanes, in a fixed order.
template <int kBytes>
DFER_INLINE float sum(const Lanes<kBytes>& lanes) {
  float parts[kBytes / 4];
  std::memcpy(parts, &lanes, kBytes);
  for (int half = kBytes / 8; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) parts[lane] += parts[lane + half];
  return parts[0];
}

#ifdef DFER_TARGET_V4
template <typename Loop, typename... Arguments>
DFER_TARGET_V4 void run_v4(Arguments... arguments) {
  Loop::template run<64>(arguments...);
}
template <typename Loop, typename... Arguments>
DFER_TARGET_V3 void run_v3(Arguments... arguments) {
  Loop::template run<32>(arguments...);
}
#endif

template <typename Loop, typename... Arguments>
void for_width(Arguments... arguments) {
#ifdef DFER_TARGET_V4
  if (__builtin_cpu_supports("x86-64-v4")) return run_v4<Loop, Arguments...>(arguments...);
  if (__builtin_cpu_supports("x86-64-v3")) return run_v3<Loop, Arguments...>(arguments...);
#endif
  Loop::template run<16>(arguments...);
}

}  // namespace dfer
