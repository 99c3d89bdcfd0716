// A loop over threads without a runtime of its own: OpenMP's would meet torch's in one process.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace dfer {

// Calls body(begin, end) on contiguous, disjoint parts of [0, count), the last part on the caller's thread.
// The first exception of any part is rethrown here, after all parts have ended.
template <typename Body>
void parallel_for(std::int64_t count, int threads, const Body& body) {
  const std::int64_t parts = std::min<std::int64_t>(std::max(threads, 1), count);
  if (parts <= 1) {
    if (count > 0) body(std::int64_t{0}, count);
    return;
  }
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(parts));
  const auto run = [&](std::int64_t part) {
    try {
      body(part * count / parts, (part + 1) * count / parts);
    } catch (...) {
      errors[static_cast<std::size_t>(part)] = std::current_exception();
    }
  };
  std::vector<std::thread> workers;
  workers.reserve(static_cast<std::size_t>(parts - 1));
  for (std::int64_t part = 0; part + 1 < parts; ++part) workers.emplace_back(run, part);
  run(parts - 1);
  for (auto& worker : workers) worker.join();
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace dfer
