// float32, float16 and bfloat16 elements on the device: read and written as float, several at once where aligned.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "common/dtypes.h"

namespace dfer {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ inline T from_float(float x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else
    return T(x);
}

// kCount neighbouring elements, moved as one word.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T value[kCount];
};

template <typename T, int kCount>
__device__ inline Pack<T, kCount> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kCount>*>(from);
}

template <typename T, int kCount>
__device__ inline void store_pack(T* to, const Pack<T, kCount>& pack) {
#ifdef __CUDACC__
  // By name: a compiler takes a struct apart, and writes its pairs.
  if constexpr (sizeof(pack) == 16) {
    uint4 word;
    memcpy(&word, &pack, sizeof word);
    __stwb(reinterpret_cast<uint4*>(to), word);
    return;
  }
#endif
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

// Keeps the compiler from taking a value apart, or making it anew in a loop: one address for neighbours, and registers.
template <typename T>
__device__ inline T kept_value(T value) {
#ifdef __CUDACC__
  if constexpr (std::is_pointer_v<T>)
    asm volatile("" : "+l"(value));
  else
    asm volatile("" : "+r"(value));
#endif
  return value;
}

inline bool aligned_to(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

// Calls body(T{}) for the element type.
template <typename Body>
auto for_dtype(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::float16:
      return body(__half{});
    case DType::bfloat16:
      return body(__nv_bfloat16{});
    default:
      return body(float{});
  }
}

}  // namespace dfer
