#include "admin/session.h"

#include <fmt/format.h>
#include <poll.h>

#include <utility>

#include "admin/command_table.h"

namespace sluice::admin {

using proxy::Stream;

Session::Session(Context& context, Turns& turns, std::unique_ptr<proxy::UvStream> stream, int fd,
                 std::string who, Closed closed)
    : context_(context),
      turns_(turns),
      loop_(context.control.loop()),
      stream_(std::move(stream)),
      fd_(fd),
      who_(std::move(who)),
      closed_callback_(std::move(closed)),
      timer_([](void* self) { static_cast<Session*>(self)->on_deadline(); }, this),
      advance_([](void* self) { static_cast<Session*>(self)->advance(); }, this) {
  stream_->set_handler(this);
}

Session::~Session() = default;

void Session::start() {
  stream_->start_reading();
  expect(Waiting::command, kFirstCommandMs);
}

void Session::on_read(char* data, size_t size) {
  if (lingering_) return;
  input_.append(data, size);
  // More than a line ahead waits in the socket; an end of it is not seen then.
  const bool reads_nothing = waiting_ == Waiting::drain;
  if ((answer_ != nullptr || in_line_ || reads_nothing) && input_.size() > kMaxLineBytes) {
    stream_->stop_reading();
    reading_held_ = true;
    if (!reads_nothing) expect(Waiting::hang_up, kHangUpPollMs);
  }
  if (!reads_nothing) advance();
}

void Session::on_read_end() {
  read_ended_ = true;
  if (lingering_) {
    close();
  } else if (hung_up()) {
    leave_behind();
  } else {
    advance();
  }
}

void Session::on_stream_error(int) {
  leave_behind();
}

void Session::on_drained() {
  if (!lingering_) {
    advance();
  } else if (read_ended_) {
    close();
  } else {
    expect(Waiting::linger, kLingerMs);
  }
}

// Does what can be done now, until it has to wait for something.
void Session::advance() {
  if (closed_ || lingering_ || advancing_ || in_line_) return;
  if (too_slow_) {
    close();
    return;
  }
  advancing_ = true;
  bool had_turn = false;
  size_t lines = 0;
  while (!closed_ && !lingering_ && goes_on()) {
    if (!gone_ && !at_once_ && stream_->pending() > Stream::kHighWatermark) {
      expect(Waiting::drain, kReplyMs);
      break;
    }
    if (!commands_.empty()) {
      if (at_once_ ? most_at_once_-- == 0 : std::exchange(had_turn, true)) {
        wait_for_turn();
        break;
      }
      const std::string command = std::move(commands_.front());
      commands_.pop_front();
      run(command);
    } else if (std::exchange(line_under_way_, false)) {
      if (!interactive_) {
        end();
      } else {
        write("> ");
      }
    } else if (++lines > kMostLinesATurn) {
      wait_for_turn();
      break;
    } else if (!next_line()) {
      break;
    }
  }
  advancing_ = false;
  if (gone_ && !in_line_) {
    close();
  } else if (answer_ != nullptr && (read_ended_ || reading_held_) && !closed_) {
    expect(Waiting::hang_up, kHangUpPollMs);
  }
}

// Is no command under way? Where nobody will hear the answer it is not awaited:
// what was to be changed has been. But what stands behind something that waits is
// not to be done before.
bool Session::goes_on() {
  if (answer_ == nullptr) return true;
  if ((!gone_ && !at_once_) || answer_->waits()) return false;
  log_change(std::nullopt);
  std::exchange(answer_, nullptr)->abandon();
  return true;
}

void Session::wait_for_turn() {
  if (at_once_) return;  // there will be none
  if (waiting_ != Waiting::hang_up) {
    waiting_ = Waiting::nothing;
    timer_.disarm();
  }
  in_line_ = true;
  turns_.line_up(*this);
}

// The client is gone. What it has said has its turns still.
void Session::leave_behind() {
  gone_ = true;
  if (lingering_) {
    close();
  } else {
    advance();
  }
}

void Session::finish() {
  if (std::exchange(in_line_, false)) turns_.leave(*this);
  at_once_ = true;
  advance();
  close();
}

void Session::take_turn() {
  in_line_ = false;
  advance();
}

// Takes a line from the input; false when there is none yet. What a client says
// last needs no line feed.
bool Session::next_line() {
  const size_t feed = input_.find('\n');
  const bool whole = feed != std::string::npos || (read_ended_ && !input_.empty());
  if ((whole ? std::min(feed, input_.size()) : input_.size()) > kMaxLineBytes) {
    refuse_line();
    return false;
  }
  if (!whole) {
    if (read_ended_) {
      end();
      return false;
    }
    stream_->start_reading();
    reading_held_ = false;
    if (waiting_ != Waiting::command) {
      expect(Waiting::command, interactive_ ? kInteractiveIdleMs : kFirstCommandMs);
    }
    return false;
  }
  const std::string line = input_.substr(0, feed);
  input_.erase(0, feed == std::string::npos ? feed : feed + 1);
  for (const std::string_view command : split_commands(line)) commands_.emplace_back(command);
  // An empty line asks for nothing; in a dialogue it gets another prompt.
  line_under_way_ = interactive_ || !commands_.empty();
  return true;
}

void Session::refuse_line() {
  write_reply(Refusal{"usage", fmt::format("the line is longer than {} KiB", kMaxLineBytes / 1024)},
              Format::text);
  end();
}

void Session::run(const std::string& text) {
  waiting_ = Waiting::nothing;
  timer_.disarm();
  conf::Result<ParsedCommand> parsed = parse_command(text);
  if (!parsed.ok()) {
    const bool json = text.compare(0, 5, "json ") == 0;
    write_reply(Refusal{"usage", parsed.error().detail}, json ? Format::json : Format::text);
    return;
  }
  format_ = parsed->format;
  const auto found = context_.commands.find(parsed->words);
  if (const auto* refusal = std::get_if<Refusal>(&found)) {
    write_reply(*refusal, format_);
    return;
  }
  const auto& match = *std::get_if<CommandTable::Match>(&found);
  std::vector<std::string>& words = parsed->words;
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(match.name_words));
  const Call call{context_, {"admin", who_}, format_, std::move(words)};
  if (match.command->changes) change_ = text;
  answer_ = std::make_shared<Answer>(*this);
  // A copy: the command may finish within the call, which lets go of ours.
  const AnswerPtr answer = answer_;
  match.command->run(call, answer);
}

void Session::command_ended() {
  answer_.reset();
  if (!advancing_) loop_.defer(advance_);
}

void Session::log_change(std::optional<bool> ok) {
  const std::string command = std::exchange(change_, {});
  if (command.empty()) return;
  proxy::DaemonLog& log = context_.control.daemon_log();
  const char* const message =
      ok && !gone_ ? "an admin command was answered" : "an admin command got no answer";
  if (ok) {
    log.write_always(proxy::LogLevel::info, "admin_command", message,
                     {{"who", who_}, {"command", command}, {"ok", *ok}});
  } else {
    log.write_always(proxy::LogLevel::info, "admin_command", message, {{"who", who_}, {"command", command}});
  }
}

void Session::reply(const Outcome& outcome) {
  log_change(std::holds_alternative<Output>(outcome));
  write_reply(outcome, format_);
  command_ended();
}

void Session::partial(const Output& output) {
  write(render(output, format_) + "\n");
  if (stream_->pending() > kMostPendingBytes) {
    // Later: whoever streams must not be called back now.
    too_slow_ = true;
    loop_.defer(advance_);
  }
}

void Session::to_interactive() {
  interactive_ = true;
  command_ended();
}

void Session::quit() {
  commands_.clear();
  interactive_ = false;
  command_ended();
}

void Session::write_reply(const Outcome& outcome, Format format) {
  write(render(outcome, format) + "\n\n");
}

void Session::write(std::string_view text) {
  const iovec slice{const_cast<char*>(text.data()), text.size()};
  stream_->write(&slice, 1);
}

void Session::end() {
  if (closed_ || lingering_) return;
  lingering_ = true;
  input_.clear();
  const bool all_out = stream_->pending() == 0;
  stream_->shutdown_write();
  if (all_out && read_ended_) {
    close();
    return;
  }
  if (!read_ended_) stream_->start_reading();
  expect(Waiting::linger, all_out ? kLingerMs : kReplyMs);
}

void Session::close() {
  if (closed_) return;
  closed_ = true;
  if (std::exchange(in_line_, false)) turns_.leave(*this);
  timer_.disarm();
  stream_->close();
  log_change(std::nullopt);
  if (const AnswerPtr answer = std::exchange(answer_, nullptr); answer != nullptr) answer->abandon();
}

std::optional<uint64_t> Session::idle_since_us() const {
  const bool idle = !closed_ && waiting_ == Waiting::command && stream_->pending() == 0;
  return idle ? std::optional(waiting_since_us_) : std::nullopt;
}

void Session::make_room() {
  write_reply(Refusal{"unavailable", "another client needs the place of this idle session"}, Format::text);
  close();
}

void Session::on_stream_closed() {
  closed_callback_(this);
}

void Session::expect(Waiting what, uint64_t delay_ms) {
  waiting_ = what;
  waiting_since_us_ = loop_.now_us();
  loop_.arm(timer_, delay_ms);
}

void Session::on_deadline() {
  switch (std::exchange(waiting_, Waiting::nothing)) {
    case Waiting::nothing:
      return;
    case Waiting::command:
      write_reply(Refusal{"timeout", "no command came in time"}, Format::text);
      end();
      return;
    case Waiting::hang_up:
      if (hung_up()) {
        leave_behind();
      } else if (answer_ != nullptr) {
        expect(Waiting::hang_up, kHangUpPollMs);
      }
      return;
    case Waiting::drain:
    case Waiting::linger:
      close();
      return;
  }
}

// A client that only shut down its sending side still wants its answer; one
// that has closed does not.
bool Session::hung_up() const {
  pollfd query{fd_, 0, 0};
  return poll(&query, 1, 0) == 1 && (query.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace sluice::admin
