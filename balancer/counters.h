// Counters of one upstream on one worker: written by that worker alone with
// relaxed stores, read by any thread and summed. No line is shared between two
// workers. What is never counted by two threads needs no atomic addition.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace sluice::balancer {

// A counter with one writer.
class Counter {
 public:
  void add(uint64_t amount = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// How an attempt ended. Everything but ok, cancelled and client_gone is an
// error of the upstream; which of them the judge counts is the [trip] section's
// `on`.
enum class Outcome : uint8_t {
  ok,
  http_5xx,   // a status of 500 to 599
  connect,    // no connection could be made
  reset,      // the connection broke, or what came was no HTTP
  timeout,    // connect, first byte or idle
  slow,       // an answer, but later than [trip] slow
  cancelled,  // given up by us: the client left, or the proxy stops
};
inline constexpr size_t kOutcomes = 7;
constexpr const char* to_string(Outcome outcome) {
  constexpr const char* names[kOutcomes] = {"ok", "5xx", "connect", "reset", "timeout", "slow", "cancelled"};
  return names[static_cast<size_t>(outcome)];
}

// Why the proxy itself refused a request; never an error of green.
enum class Refusal : uint8_t {
  no_endpoint,
  queue_full,
  queue_timeout,
  maintenance,
  overload,
  client_gone,  // left while it was queued
};
inline constexpr size_t kRefusals = 6;
constexpr const char* to_string(Refusal refusal) {
  constexpr const char* names[kRefusals] = {"no_endpoint", "queue_full", "queue_timeout",
                                            "maintenance", "overload",   "client_gone"};
  return names[static_cast<size_t>(refusal)];
}

struct alignas(64) UpstreamCounters {
  static constexpr size_t kCodes = 600;  // 100..599, index is the status itself

  std::array<Counter, kCodes> responses;  // what clients got, by status
  std::array<Counter, kOutcomes> attempts;
  // Of the ok attempts those that the lot at the current split did not place:
  // begun under an earlier split, retries, rescues, overrides, what came to
  // blue because green had no endpoint. They say nothing when colours are
  // compared.
  Counter ok_not_by_lot;
  std::array<Counter, kRefusals> refusals;
  Counter retries;
  Counter rescues;
  Counter aborted;  // clients that left before their answer was complete
  Counter bytes_down;
  Counter bytes_up;
};

}  // namespace sluice::balancer
