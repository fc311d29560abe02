#include "admin/turns.h"

namespace sluice::admin {

Turns::Turns(proxy::Loop& loop) : loop_(loop) {
  uv_idle_init(loop.uv(), &idle_);
  idle_.data = this;
}

void Turns::line_up(Taker& taker, Line which) {
  line(which).push_back(&taker);
  uv_idle_start(&idle_, [](uv_idle_t* handle) { static_cast<Turns*>(handle->data)->next(); });
}

void Turns::leave(const Taker& taker) {
  for (std::deque<Taker*>& one : lines_) std::erase(one, &taker);
  rest_if_nobody_waits();
}

void Turns::next() {
  const proxy::Loop::Scope scope(loop_);
  // Who lines up again meanwhile waits for the next turn.
  for (size_t left = line(Line::urgent).size(); left > 0; --left) give_turn(line(Line::urgent));
  give_turn(line(Line::common));
  rest_if_nobody_waits();
}

void Turns::give_turn(std::deque<Taker*>& line) {
  if (line.empty()) return;
  Taker& first = *line.front();
  line.pop_front();
  first.take_turn();
}

void Turns::rest_if_nobody_waits() {
  if (lines_[0].empty() && lines_[1].empty()) uv_idle_stop(&idle_);
}

void Turns::close() {
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), nullptr);
}

}  // namespace sluice::admin
