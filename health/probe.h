// Probe: one active check of one endpoint, as the state machines of this folder
// see it. proxy/ implements it: over a connection of its own, TLS where the
// upstream has it, HTTP/1 or a bare TCP connect as conf::Health says.
//
// Thread: the control thread. Owner: the CheckScheduler (unique_ptr). A probe
// is started again and again; start() is never called while it runs.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "conf/config.h"

namespace sluice::health {

struct ProbeResult {
  enum class Kind : uint8_t { ok, failed, timed_out };
  Kind kind = Kind::ok;
  std::string reason;  // "connection refused", "status 500"; empty with ok

  bool ok() const { return kind == Kind::ok; }
};

class Probe {
 public:
  // Told exactly once for each start() that is not cancelled, never from within
  // start(). It may destroy the probe. The time is the caller's clock, in
  // milliseconds.
  using Done = std::function<void(ProbeResult, uint64_t now_ms)>;

  virtual ~Probe() = default;  // cancels
  virtual void start(Done done) = 0;
  // Ends the attempt at once; Done is not called any more.
  virtual void cancel() = 0;
};

// What an HTTP check wants of an answer: a status in the set and, if asked for,
// a text in the first kMaxBodyBytes of the body. One per attempt; it reads the
// body as it comes and keeps no more of it than could be the text's beginning.
class HttpExpectation {
 public:
  static constexpr size_t kMaxBodyBytes = 64 * 1024;

  // The settings must outlive it.
  explicit HttpExpectation(const conf::Health& settings) : settings_(settings) {}

  void on_status(uint16_t status);
  void on_body(std::string_view bytes);
  // The rest of the answer makes no difference.
  bool decided() const;
  // To be asked when decided(), or when the answer is complete.
  ProbeResult result() const;

 private:
  const conf::Health& settings_;
  uint16_t status_ = 0;
  bool status_expected_ = false;
  bool body_found_ = false;
  size_t body_bytes_ = 0;
  std::string tail_;
};

}  // namespace sluice::health
