// Byte to normalised float, (byte / 255 - mean) / std, without a table and without the cancellation near the mean.
#pragma once

#ifdef __CUDACC__
#define DFER_HOST_DEVICE __host__ __device__
#else
#define DFER_HOST_DEVICE
#endif

namespace dfer {

// value * scale - bias in two parts. `scale_hi` has at most 16 significant bits, so that its product with a byte is
// exact: the result is the same with and without fused multiply-add, and within two units in the last place.
struct Affine {
  float scale_hi, bias_hi, scale_lo, bias_lo;

  DFER_HOST_DEVICE float operator()(float value) const {
    return (value * scale_hi - bias_hi) + (value * scale_lo - bias_lo);
  }
};

}  // namespace dfer
