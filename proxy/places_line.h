// PlacesLine: while a process gives way to this one, what it says of the places
// under the caps that it still has, so that both together keep every cap.
//
//   the old one                              the new one
//   'f', the last word     ----------------> takes no place under any limited cap
//   lowers its caps to what it uses and,
//   where clients are left, one more
//   all its workers have seen that
//   'c', u32, octets: what it may use  ----> counts that as used
//   again as its connections end       ----> counts less
//   ends                               ----> counts nothing
//
// What the old one may use it has lowered before it says so, and the new one counts
// what it was told: the sum never exceeds a cap. A cap at which requests of the old
// one wait is not lowered, so they are served, and first.
//
// Thread: the control thread. Owner: Control; close() before the loop ends.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "proxy/loop.h"

namespace sluice::proxy {

// By cap: "web/blue" for an upstream's own, "cap NAME" for a shared one.
using Places = std::map<std::string, uint32_t>;

std::string encode(const Places& places);
// Lines that make no sense are left out.
Places decode_places(std::string_view text);

class PlacesLine {
 public:
  static constexpr char kLetter = 'c';

  // `told` each time, `over` once, when there is nobody left who would tell.
  PlacesLine(Loop& loop, std::function<void(const Places&)> told, std::function<void()> over)
      : loop_(loop), told_(std::move(told)), over_(std::move(over)) {}
  PlacesLine(const PlacesLine&) = delete;
  PlacesLine& operator=(const PlacesLine&) = delete;
  ~PlacesLine() = default;

  // Takes the descriptor, one at a time; below 0 it is over at once.
  void open(int fd);
  void close();
  bool is_open() const { return pipe_ != nullptr; }

 private:
  void read(std::string_view octets);

  Loop& loop_;
  const std::function<void(const Places&)> told_;
  const std::function<void()> over_;
  uv_pipe_t* pipe_ = nullptr;  // lives until libuv has closed it
  std::string unread_;
};

}  // namespace sluice::proxy
