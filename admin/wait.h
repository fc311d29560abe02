// Waits: the commands that wait until something holds, at most for a while.
//
// A condition is looked at once when it is asked for and then after every
// change that Control tells of (Control::on_change), so that a wait ends the
// moment it is fulfilled and costs nothing meanwhile. It ends early when it can
// no longer be fulfilled.
//
// Owner: the Server. Thread: the control thread's.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "admin/command.h"
#include "proxy/loop.h"

namespace sluice::admin {

struct WaitProgress {
  enum class State : uint8_t { pending, met, impossible };
  State state = State::pending;
  std::string why;  // a sentence, for pending and impossible
};
using WaitCheck = std::function<WaitProgress()>;

// One row of the table of conditions. `make` reads the words behind the name.
struct WaitCondition {
  const char* name;
  const char* arguments;
  std::variant<WaitCheck, Refusal> (*make)(const Call& call, std::span<const std::string> words);
};
std::span<const WaitCondition> wait_conditions();

class Waits {
 public:
  // Fewer than the sessions there may be: however many wait, somebody can still
  // get in and act.
  static constexpr size_t kMost = 48;
  static constexpr uint32_t kMostSeconds = 7 * 24 * 3600;

  explicit Waits(proxy::Control& control);
  Waits(const Waits&) = delete;
  Waits& operator=(const Waits&) = delete;
  ~Waits();

  void begin(WaitCheck check, uint64_t delay_ms, AnswerPtr answer);
  // For commands that stay without end, like a watch: takes one of the places.
  bool take_place();
  void give_place_back() { --places_taken_; }
  void close();

 private:
  struct Wait {
    Wait(Waits& the_owner, WaitCheck the_check, AnswerPtr the_answer);
    Waits& owner;
    WaitCheck check;
    AnswerPtr answer;
    proxy::Timer deadline;
  };

  void look();
  void look_at(Wait& wait);
  void time_out(Wait& wait);
  void end(Wait& wait, const Outcome& outcome);
  void sweep();

  proxy::Control& control_;
  uint64_t watching_;
  size_t places_taken_ = 0;
  proxy::Deferred sweep_;
  std::vector<std::unique_ptr<Wait>> waits_;
};

}  // namespace sluice::admin
