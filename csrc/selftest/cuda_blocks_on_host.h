// CUDA kernels on the CPU, for tests: each thread of a block is a fiber, blocks run one after the other. Barriers and
// shuffles are real, so that values, indices and bounds are those of the GPU; nothing is said of speed. The schedule is
// hostile: one warp goes as far as it gets before another moves, lanes, warps and blocks in random order, so that a
// barrier that is missing within a block is seen. DFER_EMULATOR_SEED draws another schedule.
#pragma once

#include <cuda_runtime.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#undef __shared__
#define __shared__ static  // one block at a time: a function's static is its block's
#undef __launch_bounds__
#define __launch_bounds__(...)
#define DFER_DYNAMIC_SHARED(name) float4* const name = cuda_host::dynamic_shared()

namespace cuda_host {

enum class Waits { nothing, warp, block, ended };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  Waits waits = Waits::nothing;
  float given = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<float4> shared;
  ucontext_t scheduler;
  unsigned current = 0;
  uint3 index{};
  dim3 grid, threads;
  std::function<void()> body;
};

inline Block block;
// Which blocks of a grid run; all of them while it is empty.
inline std::function<bool(uint3 index, dim3 grid)> wanted;

inline std::mt19937& chance() {
  static std::mt19937 generator(std::getenv("DFER_EMULATOR_SEED") ? std::atoi(std::getenv("DFER_EMULATOR_SEED")) : 1);
  return generator;
}

inline float4* dynamic_shared() { return block.shared.data(); }

inline void wait_for(Waits what) {
  Fiber& fiber = block.fibers[block.current];
  fiber.waits = what;
  swapcontext(&fiber.context, &block.scheduler);
}

inline void enter() {
  block.body();
  wait_for(Waits::ended);
}

// Whether every thread of [begin, end) that still runs waits for the same thing; lets them go if so.
inline bool release(std::size_t begin, std::size_t end, Waits what) {
  bool any = false;
  for (std::size_t i = begin; i < end; ++i) {
    if (block.fibers[i].waits != what && block.fibers[i].waits != Waits::ended) return false;
    any |= block.fibers[i].waits == what;
  }
  for (std::size_t i = begin; any && i < end; ++i)
    if (block.fibers[i].waits == what) block.fibers[i].waits = Waits::nothing;
  return any;
}

// A warp until all of its threads wait for the block or have ended; whether any moved.
inline bool run_warp(std::size_t begin, std::size_t end) {
  bool moved = false;
  // Lanes in random order: threads of a warp need not keep step.
  std::array<std::size_t, 32> lanes;
  std::iota(lanes.begin(), lanes.end(), begin);
  std::shuffle(lanes.begin(), lanes.begin() + (end - begin), chance());
  for (bool going = true; going;) {
    going = false;
    for (std::size_t lane = 0; lane < end - begin; ++lane) {
      const std::size_t i = lanes[lane];
      if (block.fibers[i].waits != Waits::nothing) continue;
      block.current = static_cast<unsigned>(i);
      swapcontext(&block.scheduler, &block.fibers[i].context);
      going = true;
    }
    going |= release(begin, end, Waits::warp);
    moved |= going;
  }
  return moved;
}

inline void run_block() {
  const std::size_t count = block.fibers.size();
  for (Fiber& fiber : block.fibers) {
    fiber.stack.resize(1 << 16);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    fiber.waits = Waits::nothing;
    makecontext(&fiber.context, enter, 0);
  }
  std::vector<std::size_t> warps((count + 31) / 32);
  for (std::size_t i = 0; i < warps.size(); ++i) warps[i] = 32 * i;
  for (bool moved = true; moved;) {
    moved = false;
    std::shuffle(warps.begin(), warps.end(), chance());
    for (const std::size_t warp : warps) moved |= run_warp(warp, std::min(warp + 32, count));
    moved |= release(0, count, Waits::block);
  }
  for (const Fiber& fiber : block.fibers)
    if (fiber.waits != Waits::ended) std::abort();  // threads wait at different barriers: a GPU would hang
}

inline uint3 thread_index() { return {block.current, 0, 0}; }

}  // namespace cuda_host

#define threadIdx cuda_host::thread_index()
#define blockIdx cuda_host::block.index
#define gridDim cuda_host::block.grid
#define __syncthreads() cuda_host::wait_for(cuda_host::Waits::block)
#define __threadfence() static_cast<void>(0)
#define cudaGetLastError() cudaSuccess

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  auto& fibers = cuda_host::block.fibers;
  const unsigned me = cuda_host::block.current;
  fibers[me].given = value;
  cuda_host::wait_for(cuda_host::Waits::warp);
  const float taken = fibers[me ^ static_cast<unsigned>(mask)].given;
  cuda_host::wait_for(cuda_host::Waits::warp);
  return taken;
}

inline unsigned atomicAdd(unsigned* at, unsigned value) {
  const unsigned before = *at;
  *at += value;
  return before;
}

template <typename T>
T __ldcg(const T* at) {
  return *at;
}

template <typename T>
T __ldg(const T* at) {
  return *at;
}

inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(std::uint64_t{a} * b >> 32); }

using std::isnan;
using std::max;
using std::min;

namespace dfer {

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared_bytes, cudaStream_t,
            Arguments... arguments) {
  auto& block = cuda_host::block;
  block.grid = grid;
  block.fibers = std::vector<cuda_host::Fiber>(static_cast<std::size_t>(threads));
  float4 poison;
  std::memset(&poison, 0xff, sizeof poison);  // NaN: memory that a kernel did not fill
  block.body = [&] { kernel(static_cast<Parameters>(arguments)...); };
  std::vector<uint3> cells;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x)
        if (!cuda_host::wanted || cuda_host::wanted({x, y, z}, grid)) cells.push_back({x, y, z});
  std::shuffle(cells.begin(), cells.end(), cuda_host::chance());
  for (const uint3& cell : cells) {
    block.index = cell;
    block.shared.assign((shared_bytes + sizeof poison - 1) / sizeof poison, poison);
    cuda_host::run_block();
  }
}

}  // namespace dfer
