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
  const Line other = last_ == Line::common ? Line::urgent : Line::common;
  if (!line(other).empty()) last_ = other;
  std::deque<Taker*>& takers = line(last_);
  Taker& first = *takers.front();
  takers.pop_front();
  first.take_turn();
  rest_if_nobody_waits();
}

void Turns::rest_if_nobody_waits() {
  if (lines_[0].empty() && lines_[1].empty()) uv_idle_stop(&idle_);
}

void Turns::close() {
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), nullptr);
}

}  // namespace sluice::admin
