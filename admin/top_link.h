// TopLink: asks a running sluice, again and again, for all that `sluice top`
// shows, without ever waiting for it.
//
//   idle --ask()--> asking --on_ready()...--> idle, with new data
//                     \-- refused, broken, too late --> idle, with a problem
//
// Each question is a connection of its own, so that a restarted sluice is found
// again by asking. What was told last is kept until there is something newer.
//
// Owner: a local of run_top(). One thread.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::admin {

class TopLink {
 public:
  static constexpr size_t kMostReplyBytes = size_t{16} << 20;

  explicit TopLink(std::string path) : path_(std::move(path)) {}
  TopLink(const TopLink&) = delete;
  TopLink& operator=(const TopLink&) = delete;
  ~TopLink() { end(); }

  // Sends the question; a question under way is given up as unanswered.
  void ask();
  // To be polled for reading; -1 while idle.
  int descriptor() const { return fd_; }
  // The descriptor is readable. True when an answer is complete.
  bool on_ready();

  // Of the last complete answer: the lines of JSON, one for each command.
  const std::string& answer() const { return answer_; }
  // Why there is no newer one; empty: there is.
  const std::string& problem() const { return problem_; }

 private:
  void end();

  const std::string path_;
  int fd_ = -1;
  std::string incoming_;
  std::string answer_;
  std::string problem_;
};

}  // namespace sluice::admin
