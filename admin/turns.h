// Turns: clients that have more to ask than one thing take turns, so that however
// much they ask ahead everything else on the loop has its time. In each turn of
// the loop that is one of them, and before it once everybody whose question is
// urgent and costs little (a probe): so those wait for one of the others at most,
// and hold none of them up without end.
//
// Owner: the server whose clients they are; close() before the loop ends, and the
// object lives until the loop is gone. Thread: the loop's.
#pragma once

#include <uv.h>

#include <cstdint>
#include <deque>

#include "proxy/loop.h"

namespace sluice::admin {

class Turns {
 public:
  enum class Line : uint8_t { common, urgent };

  class Taker {
   public:
    // It has left the line, and may line up again.
    virtual void take_turn() = 0;

   protected:
    ~Taker() = default;
  };

  explicit Turns(proxy::Loop& loop);
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // `taker` is in no line, and leaves before it is gone.
  void line_up(Taker& taker, Line line = Line::common);
  void leave(const Taker& taker);
  void close();

 private:
  std::deque<Taker*>& line(Line which) { return lines_[static_cast<size_t>(which)]; }
  void next();
  static void give_turn(std::deque<Taker*>& line);
  void rest_if_nobody_waits();

  proxy::Loop& loop_;
  // Active while anybody is in a line: called in each turn of the loop, which
  // then does not sleep (libuv, "uv_idle_t").
  uv_idle_t idle_{};
  std::deque<Taker*> lines_[2];
};

}  // namespace sluice::admin
