// Session: one client of the admin socket.
//
//   reading a line --> running its commands, one after the other --+
//        ^                    (each reply goes out at once)         |
//        +------------ interactive: "> " <-------------------------+
//                      else, or at an end: lingering --> closed
//
// A client that is slow, silent or gone cannot harm: a line is bounded, no
// command runs while the replies before it have not been read, every state has
// a deadline, and a command that waits is abandoned when its client hangs up.
// Nor can one that says much at once: after a command that was answered at once it
// waits for its turn (admin/turns.h), for which it is up to us to be in time. What
// we have read is done also when its client has hung up, as far as something that
// waits; only nobody is answered.
// Lingering is reading on for a moment after the last reply, since closing with
// unread input could destroy that reply.
//
// The daemon's log has a line for each command that may change state, with who
// gave it.
//
// Owner: the Server; destroyed when its stream has closed. Thread: the control
// thread's.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "admin/command.h"
#include "admin/turns.h"
#include "proxy/uv_stream.h"

namespace sluice::admin {

class Session final : public proxy::Stream::Handler, public Answer::Sink, private Turns::Taker {
 public:
  static constexpr uint64_t kFirstCommandMs = 30'000;
  static constexpr uint64_t kInteractiveIdleMs = 600'000;
  static constexpr uint64_t kReplyMs = 30'000;  // for a client to read what it asked for
  static constexpr uint64_t kLingerMs = 1'000;
  static constexpr uint64_t kHangUpPollMs = 1'000;
  // Empty ones, which cost little; a command has a turn of its own.
  static constexpr size_t kMostLinesATurn = 100;
  static constexpr size_t kMostAtOnce = 32;
  // A client that watches and reads too slowly is let go above this.
  static constexpr size_t kMostPendingBytes = size_t{4} << 20;

  using Closed = std::function<void(Session*)>;

  // `fd` is the stream's descriptor, to ask whether the client has hung up.
  Session(Context& context, Turns& turns, std::unique_ptr<proxy::UvStream> stream, int fd, std::string who,
          Closed closed);
  ~Session() override;

  void start();
  void close();
  // Does what was asked and can be done at once, of what waits for its turn no
  // more than kMostAtOnce commands, and closes.
  void finish();
  // Since when it has waited for its client's next command, in microseconds on
  // the loop's clock; nothing while there is something to do.
  std::optional<uint64_t> idle_since_us() const;
  // Says that another client needs its place, and closes.
  void make_room();

  void on_read(char* data, size_t size) override;
  void on_read_end() override;
  void on_stream_error(int error) override;
  void on_drained() override;
  void on_stream_closed() override;

  void reply(const Outcome& outcome) override;
  void partial(const Output& output) override;
  void to_interactive() override;
  void quit() override;

 private:
  enum class Waiting : uint8_t { nothing, command, drain, hang_up, linger };

  void take_turn() override;
  void advance();
  bool goes_on();
  void wait_for_turn();
  void leave_behind();
  bool next_line();
  void run(const std::string& command);
  void command_ended();
  // `ok` is nothing where it was not awaited, since nobody was there to be told.
  void log_change(std::optional<bool> ok);
  void refuse_line();
  void end();
  void expect(Waiting what, uint64_t delay_ms);
  void on_deadline();
  bool hung_up() const;
  void write(std::string_view text);
  void write_reply(const Outcome& outcome, Format format);

  Context& context_;
  Turns& turns_;
  proxy::Loop& loop_;
  std::unique_ptr<proxy::UvStream> stream_;
  const int fd_;
  const std::string who_;
  const Closed closed_callback_;
  proxy::Timer timer_;
  proxy::Deferred advance_;
  std::string input_;
  std::deque<std::string> commands_;  // of the line under way
  AnswerPtr answer_;                  // of the command under way
  std::string change_;                // that command, if it changes state; else empty
  Format format_ = Format::text;
  Waiting waiting_ = Waiting::nothing;
  uint64_t waiting_since_us_ = 0;
  bool line_under_way_ = false;
  bool advancing_ = false;
  bool in_line_ = false;
  bool at_once_ = false;  // without turns: there will be none
  size_t most_at_once_ = kMostAtOnce;
  bool gone_ = false;          // the client, who has asked for what is still to be done
  bool reading_held_ = false;  // so that an end of the stream is not told
  bool interactive_ = false;
  bool read_ended_ = false;
  bool too_slow_ = false;
  bool lingering_ = false;
  bool closed_ = false;
};

}  // namespace sluice::admin
